#include "backend/tensorrt/layers.h"

#include <algorithm>

#include "base/error.h"

namespace kraken::tensorrt {

using nvinfer1::DataType;

nvinfer1::Dims dims(const std::vector<int64_t>& sizes) {
  nvinfer1::Dims made{};
  made.nbDims = static_cast<int32_t>(sizes.size());
  std::ranges::copy(sizes, made.d);
  return made;
}

std::string describe(Tensor tensor) {
  const nvinfer1::Dims found = tensor->getDimensions();
  if (found.nbDims < 0) return "no shape";
  std::string text = "[";
  for (int32_t i = 0; i < found.nbDims; ++i) {
    if (i > 0) text += ',';
    text += std::to_string(found.d[i]);
  }
  text += "] ";
  switch (tensor->getType()) {
    case DataType::kFLOAT:
      return text + "float32";
    case DataType::kHALF:
      return text + "float16";
    case DataType::kBF16:
      return text + "bfloat16";
    case DataType::kINT32:
      return text + "int32";
    default:
      return text + "type " + std::to_string(static_cast<int>(tensor->getType()));
  }
}

Tensor named(nvinfer1::ILayer* layer, const std::string& name) {
  if (layer == nullptr) internal_error("TensorRT refuses the layer " + name + "; its log says why");
  layer->setName(name.c_str());
  layer->getOutput(0)->setName(name.c_str());
  return layer->getOutput(0);
}

Tensor Layers::input(const std::string& name, const std::vector<int64_t>& sizes,
                     const std::vector<const char*>& dimension_names) const {
  Tensor made = network_.addInput(name.c_str(), DataType::kINT32, dims(sizes));
  if (made == nullptr) internal_error("TensorRT refuses the input " + name + "; its log says why");
  for (size_t i = 0; i < dimension_names.size(); ++i) {
    made->setDimensionName(static_cast<int32_t>(i), dimension_names[i]);
  }
  return made;
}

Tensor Layers::constant(const std::string& name, const std::vector<int64_t>& sizes,
                        nvinfer1::Weights weights) const {
  return named(network_.addConstant(dims(sizes), weights), name);
}

Tensor Layers::cast(const std::string& name, Tensor x, DataType type) const {
  return x->getType() == type ? x : named(network_.addCast(*x, type), name);
}

Tensor Layers::reshape(const std::string& name, Tensor x, const std::vector<int64_t>& sizes) const {
  nvinfer1::IShuffleLayer* layer = network_.addShuffle(*x);
  if (layer != nullptr) layer->setReshapeDimensions(dims(sizes));
  return named(layer, name);
}

Tensor Layers::transpose(const std::string& name, Tensor x, const std::vector<int32_t>& order) const {
  nvinfer1::IShuffleLayer* layer = network_.addShuffle(*x);
  if (layer != nullptr) {
    nvinfer1::Permutation permutation{};
    std::ranges::copy(order, permutation.order);
    layer->setFirstTranspose(permutation);
  }
  return named(layer, name);
}

Tensor Layers::gather(const std::string& name, Tensor x, Tensor indices, int axis) const {
  return named(network_.addGather(*x, *indices, axis), name);
}

Tensor Layers::product_with_transposed(const std::string& name, Tensor x, Tensor weight) const {
  using nvinfer1::MatrixOperation;
  if (x->getType() == DataType::kHALF) {
    x = cast(name + "/x", x, DataType::kFLOAT);
    weight = cast(name + "/weight", weight, DataType::kFLOAT);
  }
  return named(network_.addMatrixMultiply(*x, MatrixOperation::kNONE, *weight, MatrixOperation::kTRANSPOSE),
               name);
}

Tensor Layers::elementwise(const std::string& name, nvinfer1::ElementWiseOperation operation, Tensor a,
                           Tensor b) const {
  return named(network_.addElementWise(*a, *b, operation), name);
}

Tensor Layers::sum(const std::string& name, Tensor a, Tensor b) const {
  return elementwise(name, nvinfer1::ElementWiseOperation::kSUM, a, b);
}

Tensor Layers::product(const std::string& name, Tensor a, Tensor b) const {
  return elementwise(name, nvinfer1::ElementWiseOperation::kPROD, a, b);
}

Tensor Layers::unary(const std::string& name, nvinfer1::UnaryOperation operation, Tensor x) const {
  return named(network_.addUnary(*x, operation), name);
}

Tensor Layers::activation(const std::string& name, nvinfer1::ActivationType type, Tensor x) const {
  return named(network_.addActivation(*x, type), name);
}

Tensor Layers::reduce(const std::string& name, nvinfer1::ReduceOperation operation, Tensor x,
                      int axis) const {
  return named(network_.addReduce(*x, operation, 1U << axis, true), name);
}

Tensor Layers::layer_norm(const std::string& name, Tensor x, Tensor scale, Tensor bias, float epsilon) const {
  constexpr uint32_t kLastAxis = 1U << 2;
#if NV_TENSORRT_MAJOR == 10
  // V2 differs for groups only, and libraries before 10.15 lack it.
  nvinfer1::INormalizationLayer* layer = network_.addNormalization(*x, *scale, *bias, kLastAxis);
#else
  nvinfer1::INormalizationLayer* layer = network_.addNormalizationV2(*x, *scale, *bias, kLastAxis);
#endif
  if (layer != nullptr) layer->setEpsilon(epsilon);
  return named(layer, name);
}

}  // namespace kraken::tensorrt
