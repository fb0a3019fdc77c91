// What the plugins have in common: one output, shaped and typed like one of the inputs; data tensors float,
// half or bfloat16 in linear layout, norm weights float; no workspace, one tactic. Nothing is aliased: a sum
// that is under way lives in memory of the communicator, so nothing here depends on how TensorRT plans its
// own.
//
// Unbound, as while TensorRT builds, a plugin works alone: it neither starts nor waits.
#pragma once

#include <NvInferRuntime.h>

#include <span>
#include <string>

#include "common/fields.h"
#include "communicator/communicator.h"
#include "kernels/types.h"

namespace kraken::plugins {

class Plugin : public nvinfer1::IPluginV3,
               public nvinfer1::IPluginV3OneCore,
               public nvinfer1::IPluginV3OneBuild,
               public nvinfer1::IPluginV3OneRuntime {
 public:
  // --- core
  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  const char* getPluginName() const noexcept override { return name_; }
  const char* getPluginVersion() const noexcept override { return "1"; }
  const char* getPluginNamespace() const noexcept override { return "kraken"; }

  // --- build
  int32_t getNbOutputs() const noexcept override { return 1; }
  int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t nb_outputs,
                             const nvinfer1::DataType* inputs, int32_t nb_inputs) const noexcept override;
  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t nb_inputs,
                          const nvinfer1::DimsExprs* shapes, int32_t nb_shapes, nvinfer1::DimsExprs* outputs,
                          int32_t nb_outputs, nvinfer1::IExprBuilder& builder) noexcept override;
  bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* in_out,
                                 int32_t nb_inputs, int32_t nb_outputs) noexcept override;
  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t nb_inputs,
                          const nvinfer1::DynamicPluginTensorDesc* out, int32_t nb_outputs) noexcept override;

  // --- runtime
  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t nb_inputs,
                        const nvinfer1::PluginTensorDesc* out, int32_t nb_outputs) noexcept override;
  int32_t enqueue(const nvinfer1::PluginTensorDesc* input_descs,
                  const nvinfer1::PluginTensorDesc* output_descs, const void* const* inputs,
                  void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override {
    return fields_.collection();
  }

 protected:
  // One call of enqueue.
  struct Call {
    kernels::DType dtype;
    nvinfer1::Dims shape;        // of the output
    nvinfer1::Dims first_input;  // shape of input 0
    const void* const* inputs;
    void* output;
    DeviceCommunicator* communicator;  // null when unbound
    cudaStream_t stream;
  };

  explicit Plugin(const char* name) : name_(name) {}
  Plugin(const Plugin& other) : name_(other.name_), communicator_(other.communicator_) {}

  // The inputs: `data` tensors of one type, then `weights` norm weights. The output is shaped like data input
  // `like`.
  struct Inputs {
    int32_t data, weights, like;
  };
  virtual Inputs inputs() const = 0;
  // Throws PluginError. A dimension that is not known yet is −1.
  virtual void check_shapes(std::span<const nvinfer1::Dims> inputs) const = 0;
  virtual void run(const Call& call) = 0;

  FieldList fields_;  // filled by the constructor of the class that has the attributes

 private:
  void check_count(int32_t nb_inputs, int32_t nb_outputs) const;

  const char* name_;
  DeviceCommunicator* communicator_ = nullptr;
};

int64_t volume(const nvinfer1::Dims& dims);
std::string to_string(const nvinfer1::Dims& dims);
// Throws unless `dims` is `expected`, in which −1 stands for anything, as it does in dims.
void require_shape(const char* tensor, const nvinfer1::Dims& dims, std::initializer_list<int64_t> expected);

}  // namespace kraken::plugins
