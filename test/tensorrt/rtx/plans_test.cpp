// Lowered networks without plugins (`communication: "none"`), compiled to plans: TensorRT for RTX does that
// on a machine without a GPU, and so finds what TensorRT's own checks do not, such as a layer for which there
// is no kernel. Its targets are other GPUs than ours: what it accepts is a hint for those.
#include <NvInfer.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>

#include "backend/tensorrt/lowering.h"
#include "constant_weights.h"
#include "models.h"

namespace kraken::test {
namespace {

class Problems : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity <= Severity::kWARNING) text += std::string(message) + "\n";
  }
  std::string text;
};

using Parameter = std::tuple<Model, DType>;

class Plans : public testing::TestWithParam<Parameter> {
 protected:
  void SetUp() override {
    const char* path = std::getenv("KRAKEN_TENSORRT_RTX_LIBRARY");
    if (path == nullptr)
      GTEST_SKIP() << "KRAKEN_TENSORRT_RTX_LIBRARY is not set: `npm run test:tensorrt` brings the library";
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);  // stays open
    ASSERT_NE(library, nullptr) << dlerror();
    const auto create =
        reinterpret_cast<void* (*)(void*, int32_t)>(dlsym(library, "createInferBuilder_INTERNAL"));
    ASSERT_NE(create, nullptr);
    builder_.reset(static_cast<nvinfer1::IBuilder*>(
        create(static_cast<nvinfer1::ILogger*>(&problems_), NV_TENSORRT_VERSION)));
    ASSERT_NE(builder_, nullptr) << problems_.text;
  }

  Problems problems_;
  std::unique_ptr<nvinfer1::IBuilder> builder_;
};

// The last rank's network of every model whose shape this can change.
INSTANTIATE_TEST_SUITE_P(TensorRtForRtx, Plans,
                         testing::Combine(testing::ValuesIn(models()),
                                          testing::Values(DType::Float32, DType::BFloat16)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" + name_of(std::get<1>(info.param));
                         });

TEST_P(Plans, AreMadeOfWholeNetworks) {
  const auto& [model, dtype] = GetParam();
  const int ranks = model.ranks.back();
  const Graph graph = build_graph(model.config, {ranks - 1, ranks, false});
  const tensorrt::LoweringOptions options = {dtype, 64, 4, 8, 64, 16};
  const ConstantWeights weights(graph, dtype);
  const std::unique_ptr<nvinfer1::INetworkDefinition> network(tensorrt::create_network(*builder_));
  ASSERT_NE(network, nullptr) << problems_.text;
  const tensorrt::WeightStore store = tensorrt::lower(graph, weights, options, *network);
  const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder_->createBuilderConfig());
  tensorrt::configure(*builder_, options, *config);
  const std::unique_ptr<nvinfer1::IHostMemory> plan(builder_->buildSerializedNetwork(*network, *config));
  ASSERT_NE(plan, nullptr) << problems_.text;
  EXPECT_GT(plan->size(), size_t{10000});
}

}  // namespace
}  // namespace kraken::test
