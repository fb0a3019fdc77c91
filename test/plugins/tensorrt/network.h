// A strongly typed network under construction in TensorRT's CPU-only mode. That mode is a switch inside
// TensorRT 10.15 and 11.2 (TRT_INTERNAL_OPTIONS=--cpu_only=1), read once per process; the test runner sets
// it, our own code never does.
#pragma once

#include <NvInfer.h>

#include <memory>
#include <string>
#include <vector>

#include "fields.h"
#include "tensorrt.h"
#include "work_plugin.h"

namespace kraken::plugins {

class NetworkTest : public TensorRt {
 protected:
  void SetUp() override {
    TensorRt::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const char* options = std::getenv("TRT_INTERNAL_OPTIONS");
    if (options == nullptr || std::string(options).find("--cpu_only=1") == std::string::npos) {
      GTEST_SKIP() << "TRT_INTERNAL_OPTIONS has no --cpu_only=1";
    }
    plugin_library().function<void(nvinfer1::ILoggerFinder*)>("setLoggerFinder")(&log);
    const auto create = library->function<void*(void*, int32_t)>("createInferBuilder_INTERNAL");
    builder.reset(
        static_cast<nvinfer1::IBuilder*>(create(static_cast<nvinfer1::ILogger*>(&log), NV_TENSORRT_VERSION)));
    ASSERT_NE(builder, nullptr) << log.problems();
    network.reset(builder->createNetworkV2(kStronglyTyped));
    ASSERT_NE(network, nullptr) << log.problems();
    config.reset(builder->createBuilderConfig());
    ASSERT_NE(config, nullptr) << log.problems();
    // As our lowering sets it: one stream, no plugin beside another.
    config->setMaxAuxStreams(0);
#if NV_TENSORRT_MAJOR >= 11
    // 11.2 refuses to build without a device in its standard mode.
    config->setEngineCapability(nvinfer1::EngineCapability::kSAFETY);
#endif
  }
  void TearDown() override {
    plugin_library().function<void(nvinfer1::ILoggerFinder*)>("setLoggerFinder")(nullptr);
  }

  // Of 11 on, networks are nothing else, and the flag is deprecated.
#if NV_TENSORRT_MAJOR >= 11
  static constexpr uint32_t kStronglyTyped = 0;
#else
  static constexpr uint32_t kStronglyTyped =
      1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#endif

  static nvinfer1::Dims dims(std::vector<int64_t> sizes) {
    nvinfer1::Dims made{};
    made.nbDims = static_cast<int32_t>(sizes.size());
    for (size_t i = 0; i < sizes.size(); ++i) made.d[i] = sizes[i];
    return made;
  }
  static std::vector<int64_t> sizes(const nvinfer1::ITensor& tensor) {
    const nvinfer1::Dims found = tensor.getDimensions();
    if (found.nbDims < 0) return {};
    return {found.d, found.d + found.nbDims};
  }

  // T is dynamic: −1.
  nvinfer1::ITensor* input(const std::string& name, nvinfer1::DataType type,
                           const std::vector<int64_t>& shape) {
    return network->addInput(name.c_str(), type, dims(shape));
  }
  nvinfer1::ITensor* weight(const std::string& name, const std::vector<int64_t>& shape) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    weights_.emplace_back(static_cast<size_t>(count), 1.0f);
    nvinfer1::IConstantLayer* layer =
        network->addConstant(dims(shape), {nvinfer1::DataType::kFLOAT, weights_.back().data(), count});
    layer->setName(name.c_str());
    return layer->getOutput(0);
  }
  nvinfer1::ITensor* plugin(const std::string& layer, const std::string& name, const Fields& fields,
                            std::vector<nvinfer1::ITensor*> inputs) {
    nvinfer1::ITensor* output = try_plugin(layer, name, fields, inputs);
    EXPECT_NE(output, nullptr) << layer << ": " << log.problems();
    return output;
  }
  // Null where TensorRT refuses it.
  nvinfer1::ITensor* try_plugin(const std::string& layer, const std::string& name, const Fields& fields,
                                std::vector<nvinfer1::ITensor*> inputs) {
    plugins_.push_back(fields.create(name));
    EXPECT_NE(plugins_.back(), nullptr) << last_error();
    return add(layer, *plugins_.back(), inputs);
  }
  nvinfer1::ITensor* work(const std::string& layer, std::vector<nvinfer1::ITensor*> inputs) {
    plugins_.push_back(std::make_unique<WorkPlugin>());
    return add(layer, *plugins_.back(), inputs);
  }

  // Builds with T from 1 to most. A plan cannot come of it without a device; how far it came is in the log.
  void build(const std::string& input, int64_t ways, int64_t width, int64_t most) {
    nvinfer1::IOptimizationProfile* profile = builder->createOptimizationProfile();
    using Select = nvinfer1::OptProfileSelector;
    for (const auto& [select, tokens] :
         {std::pair{Select::kMIN, int64_t{1}}, {Select::kOPT, most}, {Select::kMAX, most}}) {
      ASSERT_TRUE(profile->setDimensions(input.c_str(), select, dims({ways, tokens, width})));
    }
    config->addOptimizationProfile(profile);
    const std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
    EXPECT_EQ(plan, nullptr) << "a plan without a device: is this still the CPU-only mode?";
  }

  Log log;  // outlives what logs to it
  std::unique_ptr<nvinfer1::IBuilder> builder;
  std::unique_ptr<nvinfer1::INetworkDefinition> network;
  std::unique_ptr<nvinfer1::IBuilderConfig> config;

 private:
  nvinfer1::ITensor* add(const std::string& layer, nvinfer1::IPluginV3& plugin,
                         std::vector<nvinfer1::ITensor*>& inputs) {
    nvinfer1::IPluginV3Layer* added =
        network->addPluginV3(inputs.data(), static_cast<int32_t>(inputs.size()), nullptr, 0, plugin);
    if (added == nullptr) return nullptr;
    added->setName(layer.c_str());
    added->getOutput(0)->setName((layer + ".out").c_str());
    return added->getOutput(0);
  }

  std::vector<std::vector<float>> weights_;
  std::vector<std::unique_ptr<nvinfer1::IPluginV3>> plugins_;
};

}  // namespace kraken::plugins
