// A Graph lowered into the real TensorRT, with the plugin library that is shipped in its registry.
#pragma once

#include <memory>
#include <optional>

#include "backend/tensorrt/layers.h"
#include "backend/tensorrt/lowering.h"
#include "constant_weights.h"
#include "models.h"
#include "network.h"

namespace kraken::test {

class LoweringTest : public plugins::NetworkTest {
 protected:
  void SetUp() override {
    NetworkTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    plugins_ = builder->getPluginRegistry().loadLibrary(KRAKEN_PLUGIN_LIBRARY);
    ASSERT_NE(plugins_, nullptr) << log.problems();
  }
  void TearDown() override {
    network.reset();
    unload_plugins();
    NetworkTest::TearDown();
  }
  void unload_plugins() {
    if (plugins_ != nullptr) builder->getPluginRegistry().deregisterLibrary(plugins_);
    plugins_ = nullptr;
  }

  static tensorrt::LoweringOptions options(DType dtype) { return {dtype, 256, 8, 16, 128, 64}; }

  // In a new network; throws what lower() throws.
  void lower(const Graph& graph, DType dtype) {
    network.reset(tensorrt::create_network(*builder));
    reader_.emplace(graph, dtype);
    store_.emplace(tensorrt::lower(graph, *reader_, options(dtype), *network));
  }
  void lower_or_fail(const Graph& graph, DType dtype) {
    try {
      lower(graph, dtype);
    } catch (const std::exception& error) {
      FAIL() << error.what() << "\n" << log.problems();
    }
  }

  std::vector<nvinfer1::ILayer*> layers() const {
    std::vector<nvinfer1::ILayer*> all;
    for (int32_t i = 0; i < network->getNbLayers(); ++i) all.push_back(network->getLayer(i));
    return all;
  }
  // "" for a layer of TensorRT's own.
  static std::string plugin_name(nvinfer1::ILayer& layer) {
    if (layer.getType() != nvinfer1::LayerType::kPLUGIN_V3) return "";
    nvinfer1::IPluginV3& plugin = static_cast<nvinfer1::IPluginV3Layer&>(layer).getPlugin();
    auto* core = static_cast<nvinfer1::IPluginV3OneCore*>(
        plugin.getCapabilityInterface(nvinfer1::PluginCapabilityType::kCORE));
    return core->getPluginName();
  }

 private:
  nvinfer1::IPluginRegistry::PluginLibraryHandle plugins_ = nullptr;
  std::optional<ConstantWeights> reader_;
  std::optional<tensorrt::WeightStore> store_;
};

}  // namespace kraken::test
