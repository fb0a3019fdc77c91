#include "interpreter/plugin_function.h"

#include <cuda_runtime_api.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "kraken_plugins.h"

namespace kraken::test {
namespace {

using nvinfer1::PluginTensorDesc;

// Of the stand-in for CUDA: aligned as a device's, and exactly as large as asked for.
class Buffer {
 public:
  explicit Buffer(size_t bytes) {
    if (cudaMalloc(&data_, bytes) != cudaSuccess) throw std::runtime_error("out of memory");
  }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

PluginTensorDesc describe(const HostTensor& tensor) {
  PluginTensorDesc desc{};
  desc.type = tensor.type;
  desc.format = nvinfer1::TensorFormat::kLINEAR;
  desc.dims.nbDims = static_cast<int32_t>(tensor.sizes.size());
  for (size_t i = 0; i < tensor.sizes.size(); ++i) desc.dims.d[i] = tensor.sizes[i];
  return desc;
}

nvinfer1::DynamicPluginTensorDesc describe_range(const PluginTensorDesc& desc) {
  return {desc, desc.dims, desc.dims, desc.dims};
}

// TensorRT evaluates a plugin's expressions of sizes; ours all say that the output has the rows of one input.
int64_t output_rows(const std::string& plugin, const Operands& inputs) {
  constexpr size_t kWantedRows = 5;
  if (plugin == "StartNorm") return inputs[1]->size(1);
  if (plugin == "Attention" && inputs.size() > kWantedRows) return inputs[kWantedRows]->size(0);
  return inputs[0]->size(1);
}

}  // namespace

LayerFunction plugin_function(nvinfer1::IPluginV3Layer& layer) {
  using nvinfer1::PluginCapabilityType;
  const auto capability = [](nvinfer1::IPluginV3& plugin, PluginCapabilityType type) {
    return plugin.getCapabilityInterface(type);
  };
  auto* unattached = static_cast<nvinfer1::IPluginV3OneRuntime*>(
      capability(layer.getPlugin(), PluginCapabilityType::kRUNTIME));
  const std::shared_ptr<nvinfer1::IPluginV3> plugin(unattached->attachToContext(nullptr));
  const std::string layer_name = layer.getName();
  if (plugin == nullptr)
    throw std::runtime_error(layer_name + " cannot be attached: " + kraken_plugins_last_error());
  auto* runtime =
      static_cast<nvinfer1::IPluginV3OneRuntime*>(capability(*plugin, PluginCapabilityType::kRUNTIME));
  auto* build = static_cast<nvinfer1::IPluginV3OneBuild*>(capability(*plugin, PluginCapabilityType::kBUILD));
  auto* core = static_cast<nvinfer1::IPluginV3OneCore*>(capability(*plugin, PluginCapabilityType::kCORE));
  const std::string name = core->getPluginName();
  const nvinfer1::Dims shape = layer.getOutput(0)->getDimensions();

  return [plugin, runtime, build, name, layer_name, shape](const Operands& inputs, HostTensor& output) {
    std::vector<int64_t> sizes(shape.d, shape.d + shape.nbDims);
    for (int64_t& size : sizes) {
      if (size < 0) size = output_rows(name, inputs);
    }
    output.sizes = sizes;
    output.values.assign(static_cast<size_t>(volume(sizes)), 0.0);

    std::vector<PluginTensorDesc> descs;
    std::vector<nvinfer1::DynamicPluginTensorDesc> ranges;
    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<const void*> addresses;
    for (const HostTensor* input : inputs) {
      descs.push_back(describe(*input));
      ranges.push_back(describe_range(descs.back()));
      buffers.push_back(std::make_unique<Buffer>(input->bytes()));
      input->store(buffers.back()->data());
      addresses.push_back(buffers.back()->data());
    }
    const PluginTensorDesc output_desc = describe(output);
    const nvinfer1::DynamicPluginTensorDesc output_range = describe_range(output_desc);
    const auto count = static_cast<int32_t>(inputs.size());
    const Buffer workspace(build->getWorkspaceSize(ranges.data(), count, &output_range, 1));
    const Buffer out(output.bytes());
    void* out_address = out.data();
    if (runtime->onShapeChange(descs.data(), count, &output_desc, 1) != 0 ||
        runtime->enqueue(descs.data(), &output_desc, addresses.data(), &out_address, workspace.data(),
                         nullptr) != 0) {
      throw std::runtime_error(layer_name + ": " + kraken_plugins_last_error());
    }
    output.load(out.data());
  };
}

}  // namespace kraken::test
