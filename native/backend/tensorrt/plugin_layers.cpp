#include "backend/tensorrt/plugin_layers.h"

#include <memory>

#include "base/error.h"

namespace kraken::tensorrt {
namespace {

// Points into `field`.
nvinfer1::PluginField as_tensorrt(const PluginField& field) {
  using nvinfer1::PluginFieldType;
  if (const auto* integer = std::get_if<int32_t>(&field.value))
    return {field.name, integer, PluginFieldType::kINT32, 1};
  if (const auto* number = std::get_if<float>(&field.value))
    return {field.name, number, PluginFieldType::kFLOAT32, 1};
  const auto& numbers = std::get<std::vector<float>>(field.value);
  return {field.name, numbers.data(), PluginFieldType::kFLOAT32, static_cast<int32_t>(numbers.size())};
}

}  // namespace

Tensor add_plugin(nvinfer1::INetworkDefinition& network, const std::string& layer, const char* plugin,
                  const std::vector<PluginField>& fields, const std::vector<Tensor>& inputs) {
  auto* creator = static_cast<nvinfer1::IPluginCreatorV3One*>(
      network.getBuilder().getPluginRegistry().getCreator(plugin, "1", "kraken"));
  if (creator == nullptr) {
    throw Error("ERR_BACKEND_UNAVAILABLE", std::string("TensorRT's registry has no plugin kraken::") +
                                               plugin +
                                               "; is the plugin library of this TensorRT's major loaded?");
  }
  std::vector<nvinfer1::PluginField> list;
  for (const PluginField& field : fields) list.push_back(as_tensorrt(field));
  const nvinfer1::PluginFieldCollection collection = {static_cast<int32_t>(list.size()), list.data()};
  // TensorRT keeps a clone.
  const std::unique_ptr<nvinfer1::IPluginV3> made(
      creator->createPlugin(layer.c_str(), &collection, nvinfer1::TensorRTPhase::kBUILD));
  if (made == nullptr)
    internal_error(std::string("plugin ") + plugin + " refuses the fields of " + layer +
                   "; the log says why");
  return named(network.addPluginV3(inputs.data(), static_cast<int32_t>(inputs.size()), nullptr, 0, *made),
               layer);
}

}  // namespace kraken::tensorrt
