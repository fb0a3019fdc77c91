// Matrices of one shape [rows, width], dense, that stand for their sum: whoever reads them next adds them up
// in passing.
#pragma once

#include <cstdint>
#include <span>

namespace kraken {

// Added up in this order.
struct Addends {
  std::span<const float* const> float32;
  std::span<const uint16_t* const> bfloat16;  // as they came over a network

  size_t count() const { return float32.size() + bfloat16.size(); }
};

}  // namespace kraken
