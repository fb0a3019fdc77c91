// Where a lowering finds a rank's weights: its engine file (rank_file_weights.h), or what a test makes up.
#pragma once

#include <cstddef>

#include "base/dtype.h"
#include "model/graph.h"

namespace kraken::tensorrt {

class WeightReader {
 public:
  struct Stored {
    DType dtype = DType::Float32;
    const std::byte* data = nullptr;  // row-major, as the WeightSpec shapes it
  };
  virtual ~WeightReader() = default;
  // What this returns stays where it is as long as the reader lives. Throws ERR_ENGINE_CORRUPT.
  virtual Stored read(const WeightSpec& weight) const = 0;
};

}  // namespace kraken::tensorrt
