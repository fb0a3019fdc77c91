#include "common/plugin.h"

#include <vector>

#include "common/error.h"
#include "common/log.h"

namespace kraken::plugins {

using nvinfer1::DataType;
using nvinfer1::Dims;

namespace {

bool is_data_type(DataType type) {
  return type == DataType::kFLOAT || type == DataType::kHALF || type == DataType::kBF16;
}

Dims known_dims(const nvinfer1::DimsExprs& exprs) {
  Dims dims{};
  dims.nbDims = exprs.nbDims;
  for (int32_t i = 0; i < exprs.nbDims; ++i) {
    dims.d[i] = exprs.d[i]->isConstant() ? exprs.d[i]->getConstantValue() : -1;
  }
  return dims;
}

}  // namespace

nvinfer1::IPluginCapability* Plugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

void Plugin::check_count(int32_t nb_inputs, int32_t nb_outputs) const {
  const int32_t expected = inputs().count();
  if (nb_inputs == expected && nb_outputs == 1) return;
  throw PluginError("takes " + std::to_string(expected) + " inputs and has 1 output, got " +
                    std::to_string(nb_inputs) + " and " + std::to_string(nb_outputs));
}

int32_t Plugin::getOutputDataTypes(DataType* outputs, int32_t nb_outputs, const DataType* input_types,
                                   int32_t nb_inputs) const noexcept {
  return guarded(name_, -1, [&] {
    check_count(nb_inputs, nb_outputs);
    const auto [data, weights, like, integers] = inputs();
    kernel_type(input_types[0]);
    for (int32_t i = 0; i < nb_inputs; ++i) {
      const bool is_data = i < data, is_weight = !is_data && i < data + weights;
      const DataType expected = is_data ? input_types[0] : is_weight ? DataType::kFLOAT : DataType::kINT32;
      if (input_types[i] != expected) {
        throw PluginError("input " + std::to_string(i) + " must have " +
                          (is_data     ? "the type of input 0"
                           : is_weight ? "type float"
                                       : "type int32") +
                          ", got type " + std::to_string(static_cast<int32_t>(input_types[i])));
      }
    }
    outputs[0] = input_types[0];
    return 0;
  });
}

int32_t Plugin::getOutputShapes(const nvinfer1::DimsExprs* input_shapes, int32_t nb_inputs,
                                const nvinfer1::DimsExprs*, int32_t, nvinfer1::DimsExprs* outputs,
                                int32_t nb_outputs, nvinfer1::IExprBuilder& builder) noexcept {
  return guarded(name_, -1, [&] {
    check_count(nb_inputs, nb_outputs);
    std::vector<Dims> known;
    for (int32_t i = 0; i < nb_inputs; ++i) known.push_back(known_dims(input_shapes[i]));
    check_shapes(known);
    shape_output(input_shapes, outputs[0], builder);
    return 0;
  });
}

bool Plugin::supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* in_out,
                                       int32_t nb_inputs, int32_t nb_outputs) noexcept {
  return guarded(name_, false, [&] {
    check_count(nb_inputs, nb_outputs);
    const nvinfer1::PluginTensorDesc& desc = in_out[position].desc;
    if (desc.format != nvinfer1::TensorFormat::kLINEAR) return false;
    const auto [data, weights, like, integers] = inputs();
    if (position >= data && position < data + weights) return desc.type == DataType::kFLOAT;
    if (position >= data + weights && position < nb_inputs) return desc.type == DataType::kINT32;
    return is_data_type(desc.type) && desc.type == in_out[0].desc.type;
  });
}

int32_t Plugin::configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t nb_inputs,
                                const nvinfer1::DynamicPluginTensorDesc*, int32_t nb_outputs) noexcept {
  return guarded(name_, -1, [&] {
    check_count(nb_inputs, nb_outputs);
    std::vector<Dims> largest;
    for (int32_t i = 0; i < nb_inputs; ++i) largest.push_back(in[i].max);
    check_shapes(largest);
    return 0;
  });
}

int32_t Plugin::onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t nb_inputs,
                              const nvinfer1::PluginTensorDesc*, int32_t nb_outputs) noexcept {
  return guarded(name_, -1, [&] {
    check_count(nb_inputs, nb_outputs);
    std::vector<Dims> shapes;
    for (int32_t i = 0; i < nb_inputs; ++i) shapes.push_back(in[i].dims);
    check_shapes(shapes);
    return 0;
  });
}

int32_t Plugin::enqueue(const nvinfer1::PluginTensorDesc* input_descs,
                        const nvinfer1::PluginTensorDesc* output_descs, const void* const* inputs,
                        void* const* outputs, void* workspace, cudaStream_t stream) noexcept {
  return guarded(name_, -1, [&] {
    run({kernel_type(input_descs[0].type), output_descs[0].dims, inputs, outputs[0], binding_.communicator,
         stream, binding_.kv_cache, input_descs, workspace});
    return 0;
  });
}

nvinfer1::IPluginV3* Plugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
  return guarded(name_, static_cast<nvinfer1::IPluginV3*>(nullptr), [&]() -> nvinfer1::IPluginV3* {
    const Binding binding = take_binding();
    check_binding(binding);
    auto* attached = static_cast<Plugin*>(clone());
    if (attached != nullptr) attached->binding_ = binding;
    return attached;
  });
}

void Plugin::shape_output(const nvinfer1::DimsExprs* input_shapes, nvinfer1::DimsExprs& output,
                          nvinfer1::IExprBuilder&) const {
  output = input_shapes[inputs().like];
}

kernels::DType kernel_type(DataType type) {
  switch (type) {
    case DataType::kFLOAT:
      return kernels::DType::Float32;
    case DataType::kHALF:
      return kernels::DType::Float16;
    case DataType::kBF16:
      return kernels::DType::BFloat16;
    default:
      throw PluginError("input 0 must be float, half or bfloat16, got type " +
                        std::to_string(static_cast<int32_t>(type)));
  }
}

int64_t volume(const Dims& dims) {
  int64_t product = 1;
  for (int32_t i = 0; i < dims.nbDims; ++i) product *= dims.d[i];
  return product;
}

std::string to_string(const Dims& dims) {
  std::string text = "[";
  for (int32_t i = 0; i < dims.nbDims; ++i) {
    if (i > 0) text += ',';
    text += std::to_string(dims.d[i]);
  }
  return text + ']';
}

void require_shape(const char* tensor, const Dims& dims, std::initializer_list<int64_t> expected) {
  bool fits = dims.nbDims == static_cast<int32_t>(expected.size());
  Dims wanted{};
  for (const int64_t size : expected) wanted.d[wanted.nbDims++] = size;
  for (int32_t i = 0; fits && i < dims.nbDims; ++i) {
    fits = dims.d[i] == wanted.d[i] || dims.d[i] < 0 || wanted.d[i] < 0;
  }
  if (!fits) {
    throw PluginError(std::string(tensor) + " must be " + to_string(wanted) + ", got " + to_string(dims));
  }
}

}  // namespace kraken::plugins
