#include "weights/int8_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kraken {

std::string int8_scales_name(const std::string& matrix) {
  return matrix + ".scale";
}

float quantise_int8_row(const float* row, int64_t count, int8_t* out) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(row[i]));
  const float scale = largest / 127.0f;
  if (scale < std::numeric_limits<float>::min()) {  // the inverse would not be finite
    std::fill_n(out, count, int8_t{0});
    return 0;
  }
  const float inverse = 127.0f / largest;
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<int8_t>(std::lrintf(row[i] * inverse));
  return scale;
}

}  // namespace kraken
