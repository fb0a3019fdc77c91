// What goes wrong in a lowering: coded errors that name the op, and TensorRT's or the plugin's words in the
// log.
#include <functional>

#include "base/error.h"
#include "kernels/attention.h"
#include "lowering_fixture.h"

namespace kraken::test {
namespace {

static_assert(tensorrt::kMaxHeadDim == kernels::kMaxHeadDim && tensorrt::kMaxWidth == kernels::kMaxWidth);

class WrongLowering : public LoweringTest {
 protected:
  static Graph graph_of(const ModelConfig& config, int ranks = 1) {
    return build_graph(config, {0, ranks, true});
  }
  static Graph small_gpt() { return graph_of(split_config(Architecture::Gpt)); }

  static WeightSpec& weight_of(Graph& graph, const std::string& op_name) {
    for (const Op& op : graph.ops) {
      if (op.name == op_name) return graph.weights[static_cast<size_t>(op.weight)];
    }
    throw std::runtime_error("no op " + op_name);
  }

  void expect_error(const std::function<void()>& action, const std::string& code,
                    const std::string& fragment) {
    try {
      action();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(fragment), std::string::npos) << error.what();
    }
  }
};

TEST_F(WrongLowering, NamesTheProductWhoseSizesDoNotMatch) {
  Graph graph = small_gpt();
  weight_of(graph, "layers.1.attn.qkv").shape = {1, 84, 29};
  expect_error([&] { lower(graph, DType::Float32); }, "ERR_INTERNAL", "of layers.1.attn.qkv;");
  EXPECT_TRUE(log.contains("layers.1.attn.qkv")) << log.problems();
  EXPECT_TRUE(log.contains("must match")) << log.problems();
}

TEST_F(WrongLowering, NamesTheOpThatMakesAnotherShapeThanTheGraphSays) {
  Graph graph = small_gpt();
  weight_of(graph, "layers.2.mlp.down").shape = {1, 31, 43};
  expect_error([&] { lower(graph, DType::Float32); }, "ERR_INTERNAL",
               "TensorRT makes [1,-1,31] float32 of layers.2.mlp.down");
}

TEST_F(WrongLowering, NamesTheNormWhoseWeightsDoNotFit) {
  Graph graph = graph_of(kraken_config(2), 2);
  weight_of(graph, "layers.1.norm1").shape = {1, 37};
  expect_error([&] { lower(graph, DType::BFloat16); }, "ERR_INTERNAL", "of layers.1.norm1;");
  EXPECT_TRUE(log.contains("kraken: StartNorm: weight must be [1,38], got [1,37]")) << log.problems();
}

TEST_F(WrongLowering, NamesTheTensorThatIsNotThereYet) {
  Graph graph = graph_of(kraken_config(2));
  for (Op& op : graph.ops) {
    if (op.name == "layers.1.mlp.down") op.residual = graph.ops.back().inputs[0];
  }
  expect_error([&] { lower(graph, DType::Float32); }, "ERR_INTERNAL", "reads final_norm before it is made");
}

TEST_F(WrongLowering, NeedsThePlugins) {
  unload_plugins();
  expect_error([&] { lower(small_gpt(), DType::Float32); }, "ERR_BACKEND_UNAVAILABLE",
               "TensorRT's registry has no plugin kraken::Attention");
}

TEST_F(WrongLowering, RefusesHeadsThatNoKernelHas) {
  ModelConfig config = split_config(Architecture::Gpt);
  config.head_dim = 257;
  expect_error([&] { lower(graph_of(config), DType::Float16); }, "ERR_BACKEND_UNAVAILABLE",
               "heads of at most 256, this model has 257");
  config = split_config(Architecture::Gpt);
  config.width = 16385;
  expect_error([&] { lower(graph_of(config), DType::Float16); }, "ERR_BACKEND_UNAVAILABLE",
               "a width of at most 16384, this model has 16385");
}

TEST_F(WrongLowering, RefusesInt8) {
  expect_error([&] { lower(small_gpt(), DType::Int8); }, "ERR_OPTION", "got int8");
}

// As an engine file that was built for the CPU would be.
class Int8File : public tensorrt::WeightReader {
 public:
  Stored read(const WeightSpec&) const override { return {DType::Int8, nullptr}; }
};
class DamagedFile : public tensorrt::WeightReader {
 public:
  Stored read(const WeightSpec& weight) const override {
    throw Error("ERR_ENGINE_CORRUPT", "the file lacks " + weight.name);
  }
};

TEST_F(WrongLowering, PassesOnWhatTheFileLacks) {
  const Graph graph = small_gpt();
  const auto lower_from = [&](const tensorrt::WeightReader& file) {
    network.reset(tensorrt::create_network(*builder));
    const tensorrt::WeightStore store = tensorrt::lower(graph, file, options(DType::Float32), *network);
  };
  expect_error([&] { lower_from(Int8File()); }, "ERR_ENGINE_BACKEND", "embed.tokens is stored as int8");
  expect_error([&] { lower_from(DamagedFile()); }, "ERR_ENGINE_CORRUPT", "the file lacks embed.tokens");
}

// Biases of 7e4.
class LargeBiases : public ConstantWeights {
 public:
  using ConstantWeights::ConstantWeights;
  Stored read(const WeightSpec& weight) const override {
    if (weight.name.find(".bias") == std::string::npos) return ConstantWeights::read(weight);
    return {DType::Float32, reinterpret_cast<const std::byte*>(values_.data())};
  }

 private:
  std::vector<float> values_ = std::vector<float>(1000, 7e4f);
};

TEST_F(WrongLowering, NamesTheBiasThatFloat16CannotHold) {
  ModelConfig config = split_config(Architecture::Gpt);
  add_biases(config);
  const Graph graph = graph_of(config);
  const auto lower_as = [&](DType dtype) {
    network.reset(tensorrt::create_network(*builder));
    const LargeBiases file(graph, dtype);
    const tensorrt::WeightStore store = tensorrt::lower(graph, file, options(dtype), *network);
  };
  lower_as(DType::BFloat16);
  expect_error(
      [&] { lower_as(DType::Float16); }, "ERR_OPTION",
      "cannot hold layers.0.attn.qkv.bias, which has a 70000, beyond float16's 65504; use \"bfloat16\"");
}

class LoweredWeights : public WrongLowering {};

// Weights in another type than the engine's are converted, and those in the right one are where they were.
TEST_F(LoweredWeights, KeepNoCopyOfWeightsInTheEnginesType) {
  const Graph graph = small_gpt();
  const ConstantWeights file(graph, DType::BFloat16);
  const auto kept = [&](DType dtype) {
    network.reset(tensorrt::create_network(*builder));
    return tensorrt::lower(graph, file, options(dtype), *network).bytes();
  };
  const size_t parameters = 4 * 30 * 120;  // far fewer than the model has
  EXPECT_LT(kept(DType::BFloat16), parameters);
  EXPECT_GT(kept(DType::Float16), 2 * parameters);
}

}  // namespace
}  // namespace kraken::test
