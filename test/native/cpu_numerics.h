// Shared by the CPU kernels' tests: random data in any dtype, and a checker that prints how much of its
// tolerance a result used.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace kraken::test {

// Values of one dtype, readable as float64.
class Values {
 public:
  Values() = default;
  Values(DType dtype, size_t count) : dtype_(dtype), bytes_(count * size_of(dtype)) {}

  DType dtype() const { return dtype_; }
  size_t size() const { return bytes_.size() / size_of(dtype_); }
  void* data() { return bytes_.data(); }
  const void* data() const { return bytes_.data(); }
  const std::vector<unsigned char>& bytes() const { return bytes_; }

  double operator[](size_t i) const {
    if (dtype_ == DType::Float32)
      return static_cast<double>(reinterpret_cast<const float*>(bytes_.data())[i]);
    const uint16_t bits = reinterpret_cast<const uint16_t*>(bytes_.data())[i];
    return static_cast<double>(dtype_ == DType::Float16 ? float16_to_float(bits) : bfloat16_to_float(bits));
  }
  void set(size_t i, float value) {
    if (dtype_ == DType::Float32) {
      reinterpret_cast<float*>(bytes_.data())[i] = value;
    } else {
      reinterpret_cast<uint16_t*>(bytes_.data())[i] =
          dtype_ == DType::Float16 ? float_to_float16(value) : float_to_bfloat16(value);
    }
  }

 private:
  DType dtype_ = DType::Float32;
  std::vector<unsigned char> bytes_;
};

inline Values random_values(DType dtype, size_t count, uint32_t seed, float spread = 1.0f,
                            float offset = 0.0f) {
  Values values(dtype, count);
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(offset, spread);
  for (size_t i = 0; i < count; ++i) values.set(i, normal(generator));
  return values;
}

inline std::vector<float> random_floats(size_t count, uint32_t seed, float spread = 1.0f,
                                        float offset = 0.0f) {
  std::vector<float> values(count);
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(offset, spread);
  for (float& value : values) value = normal(generator);
  return values;
}

// ‖got − want‖ / ‖want‖ and the largest difference must lie within the tolerances; prints what was used of
// them.
template <typename Got>
void expect_close(const std::string& what, const Got& got, const std::vector<double>& want, double relative,
                  double largest) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double error = 0, norm = 0, most = 0;
  size_t where = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - want[i]);
    error += difference * difference;
    norm += want[i] * want[i];
    if (!(difference <= most)) {
      most = difference;
      where = i;
    }
  }
  const double ratio = norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
  std::printf("  %-58s relative %.2e (%3.0f %% of tolerance), largest %.2e (%3.0f %%)\n", what.c_str(), ratio,
              100 * ratio / relative, most, 100 * most / largest);
  EXPECT_LE(ratio, relative) << what;
  EXPECT_LE(most, largest) << what << " at " << where << ": got " << static_cast<double>(got[where])
                           << ", want " << want[where];
}

inline const char* short_name(DType dtype) {
  return dtype == DType::Float32 ? "f32" : dtype == DType::Float16 ? "f16" : "bf16";
}

}  // namespace kraken::test
