#include "base/dtype.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/error.h"

namespace kraken {

size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::Float32:
      return 4;
    case DType::Float16:
    case DType::BFloat16:
      return 2;
    case DType::Int8:
      return 1;
  }
  internal_error("dtype out of range");
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::Float32:
      return "float32";
    case DType::Float16:
      return "float16";
    case DType::BFloat16:
      return "bfloat16";
    case DType::Int8:
      return "int8";
  }
  internal_error("dtype out of range");
}

DType parse_dtype(const std::string& name) {
  if (name == "float32") return DType::Float32;
  if (name == "float16") return DType::Float16;
  if (name == "bfloat16") return DType::BFloat16;
  if (name == "int8") return DType::Int8;
  throw Error("ERR_OPTION", "dtype must be float32, float16, bfloat16 or int8, got " + name);
}

float float16_to_float(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa · 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

namespace {

// Without branches, so that loops over it vectorise.
[[gnu::always_inline]] inline uint16_t rounded_to_float16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  // A carry out of the mantissa goes to the exponent, and from the largest number to infinity.
  const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  // Adding 2^-1 leaves multiples of 2^-24 in the mantissa, rounded.
  const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
  const uint32_t subnormal = std::bit_cast<uint32_t>(shifted) - 0x3f000000u;
  uint32_t rounded = magnitude < 0x38800000u ? subnormal : normal;
  rounded = magnitude < 0x47800000u ? rounded : 0x7c00u;   // 2^16 and above
  rounded = magnitude <= 0x7f800000u ? rounded : 0x7e00u;  // NaN
  return static_cast<uint16_t>(sign | rounded);
}

}  // namespace

uint16_t float_to_float16(float value) {
  return rounded_to_float16(value);
}

bool floats_to_float16(const float* values, size_t count, uint16_t* out) {
  uint16_t largest = 0;
  for (size_t i = 0; i < count; ++i) {
    out[i] = rounded_to_float16(values[i]);
    largest = std::max(largest, static_cast<uint16_t>(out[i] & 0x7fffu));
  }
  return largest < 0x7c00u;
}

std::string beyond_float16(const float* values, size_t count) {
  const auto* found = std::find_if(
      values, values + count, [](float value) { return (float_to_float16(value) & 0x7c00u) == 0x7c00u; });
  if (found == values + count) internal_error("float16 holds every value");
  std::array<char, 32> number{};
  std::snprintf(number.data(), number.size(), "%g", static_cast<double>(*found));
  return std::string(number.data()) + ", beyond float16's 65504";
}

}  // namespace kraken
