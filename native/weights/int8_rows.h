// Matrices of an int8 engine: every output channel (a row of k weights) is int8 values times one float32
// scale, symmetric, so that zero stays zero.
#pragma once

#include <cstdint>
#include <string>

namespace kraken {

// Longest row whose dot products with other int8 rows, and with a row of 128, fit 32 bits.
inline constexpr int64_t kMostInt8Columns = int64_t{1} << 17;

// Name of the scales [W, n] beside the matrix [W, n, k] in a rank's file.
std::string int8_scales_name(const std::string& matrix);

// out[i] = round(row[i] / scale) in [-127, 127]; returns scale = max |row| / 127, or 0 for a row of zeros.
float quantise_int8_row(const float* row, int64_t count, int8_t* out);

}  // namespace kraken
