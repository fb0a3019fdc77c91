#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace kraken {
namespace {

TEST(Float16, ComesBackFromFloat) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = float16_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float16_to_float(float_to_float16(value))));
    } else {
      EXPECT_EQ(float_to_float16(value), bits);
    }
  }
}

// Between each number and the next: below the middle, in the middle (to the even one), above.
TEST(Float16, IsTheNearestAndTiesAreEven) {
  for (uint16_t bits = 0; bits < 0x7c00; ++bits) {
    const float low = float16_to_float(bits);
    const float high = bits == 0x7bff ? 65536.0f : float16_to_float(static_cast<uint16_t>(bits + 1));
    const float middle = (low + high) / 2;
    const auto next = static_cast<uint16_t>(bits + 1);
    ASSERT_EQ(float_to_float16(std::nextafter(middle, low)), bits);
    ASSERT_EQ(float_to_float16(middle), bits % 2 == 0 ? bits : next) << middle;
    ASSERT_EQ(float_to_float16(std::nextafter(middle, high)), next);
    ASSERT_EQ(float_to_float16(-middle), 0x8000 | (bits % 2 == 0 ? bits : next));
  }
  EXPECT_EQ(float_to_float16(1e30f), 0x7c00);
  EXPECT_EQ(float_to_float16(-std::numeric_limits<float>::infinity()), 0xfc00);
  EXPECT_EQ(float_to_float16(1e-30f), 0);
}

}  // namespace
}  // namespace kraken
