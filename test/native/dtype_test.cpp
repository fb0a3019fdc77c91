#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

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

// Many at once, at every place of a vector, and whether float16 holds them all.
TEST(Float16, OfManyIsThatOfEach) {
  std::vector<float> values;
  for (uint32_t bits = 0; bits <= 0xffff; bits += 0x35) {
    const float value = float16_to_float(static_cast<uint16_t>(bits));
    for (const float factor : {1.0f, 1.00024414f, 1.00048828f, 1.1f}) {
      if (std::abs(value * factor) < 65520.0f) values.push_back(value * factor);
    }
  }
  values.insert(values.begin(), {-0.0f, 65504.0f, 65519.99f, 0x1p-24f, 0x1p-25f, 0x1.8p-25f, 1e-40f});
  std::vector<uint16_t> out(values.size());
  EXPECT_TRUE(floats_to_float16(values.data(), values.size(), out.data()));
  for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(out[i], float_to_float16(values[i])) << values[i];

  const float beyond[] = {65520.0f, -65520.0f, 1e30f, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()};
  for (const float value : beyond) {
    for (const size_t at : {size_t{0}, values.size() / 2, values.size() - 1}) {
      std::vector<float> with = values;
      with[at] = value;
      EXPECT_FALSE(floats_to_float16(with.data(), with.size(), out.data())) << value;
      EXPECT_EQ(out[at], float_to_float16(value));
    }
  }
  const float some[] = {1, 2, -123456, 1e30f};
  EXPECT_EQ(beyond_float16(some, 4), "-123456, beyond float16's 65504");
}

}  // namespace
}  // namespace kraken
