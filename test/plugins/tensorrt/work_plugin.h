// A stand-in for attention, MLP and residual adds: any number of inputs, one output like the first. TensorRT
// cannot compile layers of its own without a device, but it plans a network of plugins to the end.
#pragma once

#include <NvInferRuntime.h>

#include <string>

namespace kraken::plugins {

class WorkPlugin : public nvinfer1::IPluginV3,
                   public nvinfer1::IPluginV3OneCore,
                   public nvinfer1::IPluginV3OneBuild,
                   public nvinfer1::IPluginV3OneRuntime {
 public:
  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
    if (type == nvinfer1::PluginCapabilityType::kBUILD)
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    if (type == nvinfer1::PluginCapabilityType::kRUNTIME)
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    return static_cast<nvinfer1::IPluginV3OneCore*>(this);
  }
  nvinfer1::IPluginV3* clone() noexcept override { return new WorkPlugin; }
  const char* getPluginName() const noexcept override { return "Work"; }
  const char* getPluginVersion() const noexcept override { return "1"; }
  const char* getPluginNamespace() const noexcept override { return "kraken-test"; }

  int32_t getNbOutputs() const noexcept override { return 1; }
  int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t, const nvinfer1::DataType* inputs,
                             int32_t) const noexcept override {
    outputs[0] = inputs[0];
    return 0;
  }
  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t, const nvinfer1::DimsExprs*, int32_t,
                          nvinfer1::DimsExprs* outputs, int32_t, nvinfer1::IExprBuilder&) noexcept override {
    outputs[0] = inputs[0];
    return 0;
  }
  bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* in_out, int32_t,
                                 int32_t) noexcept override {
    return in_out[position].desc.format == nvinfer1::TensorFormat::kLINEAR;
  }
  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc*, int32_t,
                          const nvinfer1::DynamicPluginTensorDesc*, int32_t) noexcept override {
    return 0;
  }
  int32_t onShapeChange(const nvinfer1::PluginTensorDesc*, int32_t, const nvinfer1::PluginTensorDesc*,
                        int32_t) noexcept override {
    return 0;
  }
  int32_t enqueue(const nvinfer1::PluginTensorDesc*, const nvinfer1::PluginTensorDesc*, const void* const*,
                  void* const*, void*, cudaStream_t) noexcept override {
    return -1;
  }
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override {
    return clone();
  }
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override { return &none_; }

 private:
  nvinfer1::PluginFieldCollection none_{};
};

}  // namespace kraken::plugins
