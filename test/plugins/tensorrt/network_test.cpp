// Networks with our plugins in the real TensorRT: shapes and types, messages, formats, order, memory.
#include "network.h"

#include <algorithm>
#include <regex>

namespace kraken::plugins {
namespace {

using nvinfer1::DataType;

constexpr int32_t kWays = 2, kWidth = 768;
constexpr int64_t kTokens = 128;

std::string type_name(const testing::TestParamInfo<DataType>& info) {
  return info.param == DataType::kFLOAT ? "float32" : info.param == DataType::kHALF ? "float16" : "bfloat16";
}

class NetworkTypes : public NetworkTest, public testing::WithParamInterface<DataType> {};
INSTANTIATE_TEST_SUITE_P(Network, NetworkTypes,
                         testing::Values(DataType::kFLOAT, DataType::kHALF, DataType::kBF16), type_name);

TEST_P(NetworkTypes, OutputsAreShapedAndTypedLikeInputs) {
  const std::vector<int64_t> stream = {kWays, -1, kWidth}, row = {-1, kWidth};
  nvinfer1::ITensor* x = input("x", GetParam(), stream);
  nvinfer1::ITensor* y = input("y", GetParam(), row);
  nvinfer1::ITensor* gamma = weight("gamma", {kWays, kWidth});
  nvinfer1::ITensor* beta = weight("beta", {kWays, kWidth});
  const std::vector<std::pair<nvinfer1::ITensor*, std::vector<int64_t>>> outputs = {
      {plugin("start", "StartNorm", start_norm_fields(0, kWays, kWidth), {x, x, gamma}), stream},
      {plugin("start.bias", "StartNorm", start_norm_fields(1, kWays, kWidth, 1), {x, x, gamma, beta}),
       stream},
      {plugin("join", "JoinNorm", norm_fields(0, kWays, kWidth, 1), {x, x, gamma, beta}), stream},
      {plugin("add", "JoinAdd", join_add_fields(1, kWidth), {y}), row},
      {plugin("sum", "AllReduce", Fields(), {y}), row},
      {plugin("sum.stream", "AllReduce", Fields(), {x}), stream},
  };
  for (const auto& [tensor, shape] : outputs) {
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(sizes(*tensor), shape) << tensor->getName() << ": " << log.problems();
    EXPECT_EQ(tensor->getType(), GetParam()) << tensor->getName();
  }
}

// Packed sequences: T, S+1, S and B are dynamic, each by itself.
class AttentionNetwork : public NetworkTypes {
 protected:
  static constexpr int64_t kQkv = 20 * 113, kOut = 12 * 113, kTable = 16;

  std::vector<nvinfer1::ITensor*> attention_inputs(nvinfer1::ITensor* qkv, bool last_tokens) {
    std::vector<nvinfer1::ITensor*> inputs = {
        qkv, input("positions", DataType::kINT32, {-1}), input("sequence_begins", DataType::kINT32, {-1}),
        input("past_lengths", DataType::kINT32, {-1}), input("block_tables", DataType::kINT32, {-1, kTable})};
    if (last_tokens) inputs.push_back(input("wanted_rows", DataType::kINT32, {-1}));
    return inputs;
  }
};
INSTANTIATE_TEST_SUITE_P(Network, AttentionNetwork,
                         testing::Values(DataType::kFLOAT, DataType::kHALF, DataType::kBF16), type_name);

TEST_P(AttentionNetwork, ShapesItsOutput) {
  nvinfer1::ITensor* qkv = input("qkv", GetParam(), {2, -1, kQkv});
  std::vector<nvinfer1::ITensor*> inputs = attention_inputs(qkv, true);
  nvinfer1::ITensor* last = plugin("last", "Attention", attention_fields(1), inputs);
  inputs.pop_back();
  nvinfer1::ITensor* all = plugin("all", "Attention", attention_fields(), inputs);
  for (nvinfer1::ITensor* out : {all, last}) {
    ASSERT_NE(out, nullptr);
    EXPECT_EQ(sizes(*out), (std::vector<int64_t>{2, -1, kOut})) << log.problems();
    EXPECT_EQ(out->getType(), GetParam());
  }
}

TEST_P(AttentionNetwork, RefusesOtherIndices) {
  std::vector<nvinfer1::ITensor*> inputs = attention_inputs(input("qkv", GetParam(), {2, -1, kQkv}), false);
  inputs[3] = input("long_lengths", DataType::kINT64, {-1});
  nvinfer1::ITensor* output = try_plugin("h.0.attn", "Attention", attention_fields(), inputs);
  if (output != nullptr) {
    network->markOutput(*output);
    EXPECT_TRUE(sizes(*output).empty()) << "it has a shape";
  }
  EXPECT_TRUE(log.contains("kraken: Attention: input 3 must have type int32, got type 8")) << log.problems();
}

#if NV_TENSORRT_MAJOR == 10

TEST_P(AttentionNetwork, NegotiatesOneFormatAndItsScratch) {
  constexpr int64_t kMost = 300, kSequences = 8;
  nvinfer1::ITensor* x = work("embed", {input("x", GetParam(), {2, -1, kQkv})});
  nvinfer1::ITensor* all = plugin("h.0.attn", "Attention", attention_fields(), attention_inputs(x, false));
  network->markOutput(*work("end", {all}));
  nvinfer1::IOptimizationProfile* profile = builder->createOptimizationProfile();
  using Select = nvinfer1::OptProfileSelector;
  for (const auto& [select, t, s] : {std::tuple{Select::kMIN, int64_t{1}, int64_t{1}},
                                     {Select::kOPT, kMost, kSequences},
                                     {Select::kMAX, kMost, kSequences}}) {
    ASSERT_TRUE(profile->setDimensions("x", select, dims({2, t, kQkv})));
    ASSERT_TRUE(profile->setDimensions("positions", select, dims({t})));
    ASSERT_TRUE(profile->setDimensions("sequence_begins", select, dims({s + 1})));
    ASSERT_TRUE(profile->setDimensions("past_lengths", select, dims({s})));
    ASSERT_TRUE(profile->setDimensions("block_tables", select, dims({s, kTable})));
  }
  config->addOptimizationProfile(profile);
  const std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
  EXPECT_EQ(plan, nullptr) << "a plan without a device: is this still the CPU-only mode?";
  EXPECT_TRUE(log.contains("Only one format combination and one tactic for h.0.attn")) << log.problems();
  EXPECT_FALSE(log.contains("kraken: ")) << log.problems();
  int64_t scratch = -1;
  for (const Log::Line& line : log.lines()) {
    std::smatch match;
    if (std::regex_search(line.text, match, std::regex("^Max Scratch Memory: (\\d+) bytes"))) {
      scratch = std::stoll(match[1]);
    }
  }
  const int64_t row = (GetParam() == DataType::kFLOAT ? 116 * 4 : 120 * 2);
  EXPECT_GE(scratch, kMost * 2 * 8 * row);
}

#endif

struct Wrong {
  const char* what;
  std::vector<int64_t> send, x, weight;
  DataType send_type;
  const char* message;
};
class WrongNetwork : public NetworkTest, public testing::WithParamInterface<Wrong> {};

TEST_P(WrongNetwork, IsRefusedWithAMessage) {
  const Wrong& wrong = GetParam();
  nvinfer1::ITensor* output =
      try_plugin("h.1.start", "StartNorm", start_norm_fields(0, kWays, kWidth),
                 {input("send", wrong.send_type, wrong.send), input("x", DataType::kHALF, wrong.x),
                  weight("gamma", wrong.weight)});
  if (output != nullptr) {
    network->markOutput(*output);
    EXPECT_TRUE(sizes(*output).empty()) << "it has a shape";
  }
  EXPECT_TRUE(log.contains(std::string("kraken: StartNorm: ") + wrong.message)) << log.problems();
}

INSTANTIATE_TEST_SUITE_P(Network, WrongNetwork,
                         testing::Values(Wrong{"weight",
                                               {2, -1, 768},
                                               {2, -1, 768},
                                               {2, 700},
                                               DataType::kHALF,
                                               "weight must be [2,768], got [2,700]"},
                                         Wrong{"ways",
                                               {2, -1, 768},
                                               {4, -1, 768},
                                               {2, 768},
                                               DataType::kHALF,
                                               "x must be [2,-1,768], got [4,-1,768]"},
                                         Wrong{"rank",
                                               {-1, 768},
                                               {2, -1, 768},
                                               {2, 768},
                                               DataType::kHALF,
                                               "send must be [2,-1,768], got [-1,768]"},
                                         Wrong{"type",
                                               {2, -1, 768},
                                               {2, -1, 768},
                                               {2, 768},
                                               DataType::kFLOAT,
                                               "input 1 must have the type of input 0, got type 1"},
                                         Wrong{"dataType",
                                               {2, -1, 768},
                                               {2, -1, 768},
                                               {2, 768},
                                               DataType::kINT32,
                                               "input 0 must be float, half or bfloat16, got type 3"}),
                         [](const auto& info) { return info.param.what; });

// Layers of a Kraken with stand-ins for what is not ours; weights are inputs, because TensorRT copies
// constants to a device.
class NetworkPlan : public NetworkTypes {
 protected:
  static constexpr int kLayers = 3;

  void build_kraken() {
    nvinfer1::ITensor* x = work("embed", {input("x", GetParam(), {kWays, -1, kWidth})});
    for (int layer = 0; layer < kLayers; ++layer) {
      const std::string h = "h." + std::to_string(layer);
      nvinfer1::ITensor* gamma_1 = input(h + ".gamma_1", DataType::kFLOAT, {kWays, kWidth});
      nvinfer1::ITensor* gamma_2 = input(h + ".gamma_2", DataType::kFLOAT, {kWays, kWidth});
      nvinfer1::ITensor* n =
          plugin(h + ".start", "StartNorm", start_norm_fields(layer, kWays, kWidth), {x, x, gamma_1});
      nvinfer1::ITensor* attended = work(h + ".attention", {n});
      nvinfer1::ITensor* a = work(h + ".residual", {attended, x});
      nvinfer1::ITensor* m =
          plugin(h + ".join", "JoinNorm", norm_fields(layer, kWays, kWidth), {a, x, gamma_2});
      x = work(h + ".mlp", {m, a});
    }
    network->markOutput(*plugin("sum", "AllReduce", Fields(), {x}));
    build("x", kWays, kWidth, kTokens);
  }
};

#if NV_TENSORRT_MAJOR == 10

INSTANTIATE_TEST_SUITE_P(Network, NetworkPlan,
                         testing::Values(DataType::kFLOAT, DataType::kHALF, DataType::kBF16), type_name);

TEST_P(NetworkPlan, KeepsStartAttentionJoinInOrderWithoutCopies) {
  build_kraken();
  std::vector<std::string> order;
  int64_t nodes = -1, after_reformat = -1, scratch = -1, activations = -1;
  for (const Log::Line& line : log.lines()) {
    std::smatch match;
    const auto number = [&](const char* pattern, int64_t& value) {
      if (std::regex_search(line.text, match, std::regex(pattern))) value = std::stoll(match[1]);
    };
    if (std::regex_search(line.text, match, std::regex("^Layer: (\\S+) "))) order.push_back(match[1]);
    number("^After tensor merging: (\\d+) layers", nodes);
    number("^After reformat layers: (\\d+) layers", after_reformat);
    number("^Max Scratch Memory: (\\d+) bytes", scratch);
    number("^Total Activation Memory: (\\d+) bytes", activations);
  }
  const auto position = [&](const std::string& name) {
    return std::find(order.begin(), order.end(), name) - order.begin();
  };
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::string h = "h." + std::to_string(layer);
    EXPECT_LT(position(h + ".start"), position(h + ".attention"));
    EXPECT_LT(position(h + ".attention"), position(h + ".join"));
    EXPECT_LT(position(h + ".join"), static_cast<int64_t>(order.size())) << "not in the plan";
  }
  EXPECT_EQ(order.size(), size_t{2 + 5 * kLayers});
  EXPECT_GT(nodes, 0);
  EXPECT_EQ(after_reformat, nodes) << "a layer that reformats was inserted";
  EXPECT_FALSE(log.contains("Inserting cop")) << log.problems();
  EXPECT_EQ(scratch, 0);
  // x, a and one more are alive at once: a sum that is under way takes none of TensorRT's memory.
  const int64_t tensor = int64_t{kWays} * kTokens * kWidth * (GetParam() == DataType::kFLOAT ? 4 : 2);
  EXPECT_GE(activations, tensor);
  EXPECT_LE(activations, 3 * tensor + 4096);
}

TEST_P(NetworkPlan, NegotiatesOneFormatForEachPlugin) {
  build_kraken();
  for (int layer = 0; layer < kLayers; ++layer) {
    for (const char* op : {".start", ".join"}) {
      const std::string name = "h." + std::to_string(layer) + op;
      EXPECT_TRUE(log.contains("Only one format combination and one tactic for " + name)) << log.problems();
    }
  }
  EXPECT_FALSE(log.contains("kraken: ")) << log.problems();
}

#else

// 11.2 gives the whole network to Myelin, which compiles nothing without a device; it comes that far only
// with a graph and plugins it accepts. Its safety mode, the only one that builds without a device, has no
// bfloat16.
INSTANTIATE_TEST_SUITE_P(Network, NetworkPlan, testing::Values(DataType::kFLOAT, DataType::kHALF), type_name);

TEST_P(NetworkPlan, IsAcceptedUpToTheDevice) {
  build_kraken();
  EXPECT_TRUE(log.contains("After Myelin optimization: 1 layers")) << log.problems();
  EXPECT_TRUE(log.contains("Serialized custom layer data size: ")) << log.problems();
  EXPECT_TRUE(log.contains("Could not find any implementation for node {ForeignNode[")) << log.problems();
  EXPECT_FALSE(log.contains("could not find any supported formats")) << log.problems();
  EXPECT_FALSE(log.contains("kraken: ")) << log.problems();
}

#endif

}  // namespace
}  // namespace kraken::plugins
