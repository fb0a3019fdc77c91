// Activations as an int8 engine multiplies them: every row (token) is `width` values as uint8, where 128 is
// zero, and one float32 scale at its end: x ≈ (q − 128) · scale. What lies between is padding, of any value.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/dtype.h"

namespace kraken::cpu {

inline constexpr int kQuantisedZero = 128;

// Bytes from one row to the next. (Always inlined: this is also compiled with AVX-512 flags.)
[[gnu::always_inline]] constexpr int64_t quantised_row_bytes(int64_t width) {
  constexpr int64_t kWord = 4, kLine = 64;
  const int64_t words = (width + kWord - 1) / kWord;
  return (words * kWord + static_cast<int64_t>(sizeof(float)) + kLine - 1) / kLine * kLine;
}

[[gnu::always_inline]] inline float quantised_row_scale(const uint8_t* row, int64_t width) {
  float scale;
  std::memcpy(&scale, row + quantised_row_bytes(width) - sizeof scale, sizeof scale);
  return scale;
}

// Quantises rows [rows, width] of float32 or bfloat16, symmetrically: the largest magnitude of a row becomes
// 127. A row with NaN or infinity gets the scale NaN or infinity, so that it does not pass for a number.
void quantise_rows(const void* x, DType dtype, void* out, int64_t rows, int64_t width);

}  // namespace kraken::cpu
