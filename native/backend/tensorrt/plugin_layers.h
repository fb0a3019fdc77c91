// Layers that are Kraken's own plugins.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "backend/tensorrt/layers.h"

namespace kraken::tensorrt {

struct PluginField {
  const char* name;
  std::variant<int32_t, float, std::vector<float>> value;
};

// A layer with one output. Throws ERR_BACKEND_UNAVAILABLE where the registry of the network's builder lacks
// the plugin, ERR_INTERNAL where the plugin or TensorRT refuses.
Tensor add_plugin(nvinfer1::INetworkDefinition& network, const std::string& layer, const char* plugin,
                  const std::vector<PluginField>& fields, const std::vector<Tensor>& inputs);

}  // namespace kraken::tensorrt
