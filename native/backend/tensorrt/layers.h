// Layers of a network under construction. Each is named, and its output like it, so that TensorRT's messages,
// profiles and dumps speak of the Graph's ops: "layers.3.mlp.up", and behind a slash what belongs to it
// ("layers.3.mlp.up/bias").
#pragma once

#include <NvInfer.h>

#include <string>
#include <vector>

namespace kraken::tensorrt {

using Tensor = nvinfer1::ITensor*;

nvinfer1::Dims dims(const std::vector<int64_t>& sizes);
// "[2,-1,768] float32"
std::string describe(Tensor tensor);

class Layers {
 public:
  explicit Layers(nvinfer1::INetworkDefinition& network) : network_(network) {}
  nvinfer1::INetworkDefinition& network() const { return network_; }

  // A dimension of −1 is dynamic and takes its name: equal names are equal sizes.
  Tensor input(const std::string& name, const std::vector<int64_t>& sizes,
               const std::vector<const char*>& dimension_names) const;
  Tensor constant(const std::string& name, const std::vector<int64_t>& sizes,
                  nvinfer1::Weights weights) const;
  Tensor cast(const std::string& name, Tensor x, nvinfer1::DataType type) const;  // x itself where it has it
  Tensor reshape(const std::string& name, Tensor x, const std::vector<int64_t>& sizes) const;
  // Dimension i of the result is dimension order[i] of x.
  Tensor transpose(const std::string& name, Tensor x, const std::vector<int32_t>& order) const;
  Tensor gather(const std::string& name, Tensor x, Tensor indices, int axis) const;
  // x · weightᵀ, batched over the first dimension.
  // In float32 of float16 operands: with casts around it, TensorRT multiplies float16 and sums in float32;
  // without, it may sum in float16. (Its products of bfloat16 always sum in float32.)
  Tensor product_with_transposed(const std::string& name, Tensor x, Tensor weight) const;
  Tensor elementwise(const std::string& name, nvinfer1::ElementWiseOperation operation, Tensor a,
                     Tensor b) const;
  Tensor sum(const std::string& name, Tensor a, Tensor b) const;
  Tensor product(const std::string& name, Tensor a, Tensor b) const;
  Tensor unary(const std::string& name, nvinfer1::UnaryOperation operation, Tensor x) const;
  Tensor activation(const std::string& name, nvinfer1::ActivationType type, Tensor x) const;
  // Over one axis, which stays with size 1.
  Tensor reduce(const std::string& name, nvinfer1::ReduceOperation operation, Tensor x, int axis) const;
  // Layer norm over the last of three dimensions; scale and bias have one value along the second.
  Tensor layer_norm(const std::string& name, Tensor x, Tensor scale, Tensor bias, float epsilon) const;

 private:
  nvinfer1::INetworkDefinition& network_;
};

// Names a new layer and its output. Throws ERR_INTERNAL for null, with which TensorRT refuses one.
Tensor named(nvinfer1::ILayer* layer, const std::string& name);

}  // namespace kraken::tensorrt
