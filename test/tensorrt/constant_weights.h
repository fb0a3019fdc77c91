// Weights for networks that are only looked at: every element is 1/64, which all types hold.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "backend/tensorrt/weight_reader.h"

namespace kraken::test {

class ConstantWeights : public tensorrt::WeightReader {
 public:
  // `dtype` is that of matrices and tables; vectors are float32, as in an engine file.
  ConstantWeights(const Graph& graph, DType dtype) : dtype_(dtype) {
    size_t most = 0;
    for (const WeightSpec& weight : graph.weights) {
      size_t count = 1;
      for (const int64_t extent : weight.shape) count *= static_cast<size_t>(extent);
      most = std::max(most, count);
    }
    floats_.assign(most, 0x1p-6f);
    halves_.assign(most, dtype == DType::Float16 ? uint16_t{0x2400} : uint16_t{0x3c80});
  }

  Stored read(const WeightSpec& weight) const override {
    const DType dtype = weight.role == WeightRole::Vector ? DType::Float32 : dtype_;
    const void* data = dtype == DType::Float32 ? static_cast<const void*>(floats_.data())
                                               : static_cast<const void*>(halves_.data());
    return {dtype, static_cast<const std::byte*>(data)};
  }

 private:
  DType dtype_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

}  // namespace kraken::test
