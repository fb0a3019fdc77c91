// Lowered networks without plugins (`communication: "none"`), compiled to plans: TensorRT for RTX does that
// on a machine without a GPU, and so finds what TensorRT's own checks do not, such as a layer for which there
// is no kernel. Its targets are other GPUs than ours: what it accepts is a hint for those.
#include <NvInfer.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <memory>
#include <random>
#include <vector>

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

class MadePlans : public testing::Test {
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

  // 0 where there is none.
  size_t plan_bytes(const Graph& graph, DType dtype, const tensorrt::WeightReader& weights) {
    const tensorrt::LoweringOptions options = {dtype, 64, 4, 8, 64, 16};
    const std::unique_ptr<nvinfer1::INetworkDefinition> network(tensorrt::create_network(*builder_));
    if (!network) return 0;
    const tensorrt::WeightStore store = tensorrt::lower(graph, weights, options, *network);
    const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder_->createBuilderConfig());
    tensorrt::configure(*builder_, options, *config);
    const std::unique_ptr<nvinfer1::IHostMemory> plan(builder_->buildSerializedNetwork(*network, *config));
    return plan ? plan->size() : 0;
  }

  Problems problems_;
  std::unique_ptr<nvinfer1::IBuilder> builder_;
};

class Plans : public MadePlans, public testing::WithParamInterface<std::tuple<Model, DType>> {};

// The last rank's network of every model whose shape this can change.
INSTANTIATE_TEST_SUITE_P(TensorRtForRtx, Plans,
                         testing::Combine(testing::ValuesIn(models()),
                                          testing::Values(DType::Float32, DType::Float16, DType::BFloat16)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" + name_of(std::get<1>(info.param));
                         });

TEST_P(Plans, AreMadeOfWholeNetworks) {
  const auto& [model, dtype] = GetParam();
  const int ranks = model.ranks.back();
  const Graph graph = build_graph(model.config, {ranks - 1, ranks, false});
  EXPECT_GT(plan_bytes(graph, dtype, ConstantWeights(graph, dtype)), size_t{10000}) << problems_.text;
}

// Different everywhere, so that a plan cannot share them.
class VariedWeights : public tensorrt::WeightReader {
 public:
  explicit VariedWeights(DType dtype) : dtype_(dtype) {}
  Stored read(const WeightSpec& weight) const override {
    size_t count = 1;
    for (const int64_t extent : weight.shape) count *= static_cast<size_t>(extent);
    std::vector<float>& values = floats_.emplace_back(count);
    std::ranges::generate(values, [&] { return spread_(generator_); });
    if (weight.role == WeightRole::Vector || dtype_ == DType::Float32)
      return {DType::Float32, reinterpret_cast<const std::byte*>(values.data())};
    std::vector<uint16_t>& rounded = halves_.emplace_back(count);
    std::ranges::transform(values, rounded.begin(),
                           dtype_ == DType::Float16 ? float_to_float16 : float_to_bfloat16);
    return {dtype_, reinterpret_cast<const std::byte*>(rounded.data())};
  }

 private:
  DType dtype_;
  mutable std::list<std::vector<float>> floats_;
  mutable std::list<std::vector<uint16_t>> halves_;
  mutable std::mt19937 generator_;
  mutable std::uniform_real_distribution<float> spread_{-0.1f, 0.1f};
};

// The casts that ask for sums in float32 become part of the products: if they did not, the plan would have
// the weights in float32.
TEST_F(MadePlans, KeepWeightsOfFloat16InFloat16) {
  ModelConfig config = split_config(Architecture::Gpt);
  config.width = 512;
  config.ffn = 2048;
  const Graph graph = build_graph(config, {0, 1, false});
  const auto bytes = [&](DType dtype) {
    return static_cast<double>(plan_bytes(graph, dtype, VariedWeights(dtype)));
  };
  const double wide = bytes(DType::Float32), half = bytes(DType::Float16), brain = bytes(DType::BFloat16);
  std::printf("  plans of %.1f MB in float32, %.1f in float16, %.1f in bfloat16\n", wide / 1e6, half / 1e6,
              brain / 1e6);
  EXPECT_GT(half, 1e4) << problems_.text;
  EXPECT_LT(half, 1.1 * brain);
  EXPECT_LT(half, 0.7 * wide);
}

}  // namespace
}  // namespace kraken::test
