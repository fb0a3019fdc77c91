#include "backend/tensorrt/plugin_layers.h"

#include <memory>

#include "base/error.h"

namespace kraken::tensorrt {

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
  for (const PluginField& field : fields) {
    const bool integer = std::holds_alternative<int32_t>(field.value);
    const void* data = integer ? static_cast<const void*>(&std::get<int32_t>(field.value))
                               : static_cast<const void*>(&std::get<float>(field.value));
    list.emplace_back(field.name, data,
                      integer ? nvinfer1::PluginFieldType::kINT32 : nvinfer1::PluginFieldType::kFLOAT32, 1);
  }
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
