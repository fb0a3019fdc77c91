// Weights as TensorRT takes them: a pointer that must stay valid until the engine is built. What the rank's
// file holds in the right type is pointed at where it is mapped; the rest is converted and kept here.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <vector>

#include "backend/tensorrt/weight_reader.h"

namespace kraken::tensorrt {

// Throws ERR_OPTION for a dtype that engines of this backend cannot have (int8).
nvinfer1::DataType data_type(DType dtype);

class WeightStore {
 public:
  explicit WeightStore(const WeightReader& reader) : reader_(&reader) {}

  nvinfer1::Weights load(const WeightSpec& weight, DType as);
  nvinfer1::Weights filled(size_t count, float value, DType as);
  nvinfer1::Weights integer(int32_t value);

  // Of what was converted, not of what is mapped.
  size_t bytes() const;

 private:
  std::byte* keep(size_t bytes);

  const WeightReader* reader_;
  std::vector<std::vector<std::byte>> kept_;
};

}  // namespace kraken::tensorrt
