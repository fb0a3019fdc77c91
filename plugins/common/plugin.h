// What the plugins have in common: one output, typed like input 0; data tensors float, half or bfloat16 in
// linear layout, norm weights float, indices int32; one tactic. Nothing is aliased: a sum that is under way
// lives in memory of the communicator, keys and values in the key/value cache, so nothing here depends on how
// TensorRT plans its own.
//
// Unbound, as while TensorRT builds, a plugin works alone: it neither starts nor waits.
#pragma once

#include <NvInferRuntime.h>

#include <span>
#include <string>

#include "binding/binding.h"
#include "common/fields.h"
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
    nvinfer1::Dims shape;  // of the output
    const void* const* inputs;
    void* output;
    DeviceCommunicator* communicator;  // null when unbound
    cudaStream_t stream;
    const KvCache* kv_cache;  // null when unbound
    const nvinfer1::PluginTensorDesc* input_descs;
    void* workspace;
  };

  explicit Plugin(const char* name) : name_(name) {}
  Plugin(const Plugin& other) : name_(other.name_), binding_(other.binding_) {}

  // The inputs: `data` tensors of one type, then `weights` norm weights, then `integers`. The output is
  // shaped like data input `like`, unless the plugin shapes it itself.
  struct Inputs {
    int32_t data, weights, like, integers = 0;
    int32_t count() const { return data + weights + integers; }
  };
  virtual Inputs inputs() const = 0;
  // Throws PluginError. A dimension that is not known yet is −1.
  virtual void check_shapes(std::span<const nvinfer1::Dims> inputs) const = 0;
  virtual void shape_output(const nvinfer1::DimsExprs* inputs, nvinfer1::DimsExprs& output,
                            nvinfer1::IExprBuilder& builder) const;
  // Throws PluginError where the plugin cannot work with what is bound.
  virtual void check_binding(const Binding&) const {}
  virtual void run(const Call& call) = 0;

  void check_count(int32_t nb_inputs, int32_t nb_outputs) const;

  FieldList fields_;  // filled by the constructor of the class that has the attributes

 private:
  const char* name_;
  Binding binding_;
};

// Throws PluginError unless it is one of the three that kernels know.
kernels::DType kernel_type(nvinfer1::DataType type);
int64_t volume(const nvinfer1::Dims& dims);
std::string to_string(const nvinfer1::Dims& dims);
// Throws unless `dims` is `expected`, in which −1 stands for anything, as it does in dims.
void require_shape(const char* tensor, const nvinfer1::Dims& dims, std::initializer_list<int64_t> expected);

}  // namespace kraken::plugins
