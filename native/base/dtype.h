// Element types of weights and activations, and their scalar conversions (vector ones live in the backends).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

namespace kraken {

// Int8 is an engine's dtype: matrices as int8 with a float32 scale a row (weights/int8_rows.h), everything
// else as in BFloat16.
enum class DType { Float32, Float16, BFloat16, Int8 };

size_t size_of(DType dtype);
const char* name_of(DType dtype);
// Accepts "float32", "float16", "bfloat16", "int8"; throws ERR_OPTION otherwise.
DType parse_dtype(const std::string& name);

inline float bfloat16_to_float(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

// Round to nearest, ties to even; NaN stays NaN.
inline uint16_t float_to_bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float float16_to_float(uint16_t bits);
// Round to nearest, ties to even; what is too large becomes infinite, NaN stays NaN.
uint16_t float_to_float16(float value);
// The same of many. Returns whether all of them are finite in float16.
bool floats_to_float16(const float* values, size_t count, uint16_t* out);
// For messages: the first of `values` that float16 cannot hold, and what it can.
std::string beyond_float16(const float* values, size_t count);

}  // namespace kraken
