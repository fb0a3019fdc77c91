// A lowered network with the same plugins, names and data dependencies, in which a stand-in plugin takes the
// place of every layer of TensorRT's own, and an input that of every constant. TensorRT compiles nothing of
// its own without a device, but such a network it plans to the end: formats, order, memory. Sizes are fixed.
#pragma once

#include <NvInfer.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "work_plugin.h"

namespace kraken::test {

// Its output has the given shape and type.
class ShapedWork : public plugins::WorkPlugin {
 public:
  ShapedWork(std::vector<int64_t> sizes, nvinfer1::DataType type) : sizes_(std::move(sizes)), type_(type) {}
  nvinfer1::IPluginV3* clone() noexcept override { return new ShapedWork(sizes_, type_); }
  int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t, const nvinfer1::DataType*,
                             int32_t) const noexcept override {
    outputs[0] = type_;
    return 0;
  }
  int32_t getOutputShapes(const nvinfer1::DimsExprs*, int32_t, const nvinfer1::DimsExprs*, int32_t,
                          nvinfer1::DimsExprs* outputs, int32_t,
                          nvinfer1::IExprBuilder& builder) noexcept override {
    outputs[0].nbDims = static_cast<int32_t>(sizes_.size());
    for (size_t i = 0; i < sizes_.size(); ++i) outputs[0].d[i] = builder.constant(sizes_[i]);
    return 0;
  }

 private:
  std::vector<int64_t> sizes_;
  nvinfer1::DataType type_;
};

// `size_of` says what a dynamic dimension of a tensor is.
inline void copy_skeleton(nvinfer1::INetworkDefinition& from, nvinfer1::INetworkDefinition& to,
                          const std::function<int64_t(const std::string& tensor)>& size_of) {
  std::map<const nvinfer1::ITensor*, nvinfer1::ITensor*> copies;
  const auto sizes = [&](nvinfer1::ITensor& tensor) {
    const nvinfer1::Dims dims = tensor.getDimensions();
    std::vector<int64_t> fixed(dims.d, dims.d + dims.nbDims);
    for (int64_t& size : fixed) size = size < 0 ? size_of(tensor.getName()) : size;
    return fixed;
  };
  const auto add_input = [&](nvinfer1::ITensor& tensor) {
    const std::vector<int64_t> fixed = sizes(tensor);
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<int32_t>(fixed.size());
    std::copy(fixed.begin(), fixed.end(), dims.d);
    copies[&tensor] = to.addInput(tensor.getName(), tensor.getType(), dims);
  };
  for (int32_t i = 0; i < from.getNbInputs(); ++i) add_input(*from.getInput(i));
  for (int32_t i = 0; i < from.getNbLayers(); ++i) {
    nvinfer1::ILayer& layer = *from.getLayer(i);
    nvinfer1::ITensor& output = *layer.getOutput(0);
    if (layer.getType() == nvinfer1::LayerType::kCONSTANT) {
      add_input(output);
      continue;
    }
    std::vector<nvinfer1::ITensor*> inputs;
    for (int32_t input = 0; input < layer.getNbInputs(); ++input)
      inputs.push_back(copies.at(layer.getInput(input)));
    ShapedWork work(sizes(output), output.getType());
    nvinfer1::IPluginV3& plugin = layer.getType() == nvinfer1::LayerType::kPLUGIN_V3
                                      ? static_cast<nvinfer1::IPluginV3Layer&>(layer).getPlugin()
                                      : work;
    nvinfer1::IPluginV3Layer* copy =
        to.addPluginV3(inputs.data(), static_cast<int32_t>(inputs.size()), nullptr, 0, plugin);
    if (copy == nullptr) throw std::runtime_error(std::string("TensorRT refuses ") + layer.getName());
    copy->setName(layer.getName());
    copy->getOutput(0)->setName(output.getName());
    copies[&output] = copy->getOutput(0);
  }
  for (int32_t i = 0; i < from.getNbOutputs(); ++i) to.markOutput(*copies.at(from.getOutput(i)));
}

}  // namespace kraken::test
