// The networks that TensorRT-LLM runs: its inputs, attention with its plugin's fields, heads padded, logits
// of the whole vocabulary; of every architecture, as the real TensorRT 10 has them.
#include <cmath>
#include <map>
#include <set>

#include "backend/trtllm/network/pad_heads.h"
#include "backend/trtllm/network/trtllm_interface.h"
#include "base/error.h"
#include "lowering_fixture.h"
#include "stand_in_attention.h"

namespace kraken::test {
namespace {

using nvinfer1::DataType;

class TrtLlmNetwork : public LoweringTest {
 protected:
  void SetUp() override {
    LoweringTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_TRUE(builder->getPluginRegistry().registerCreator(creator, "tensorrt_llm"));
  }
  void TearDown() override {
    network.reset();
    if (builder) builder->getPluginRegistry().deregisterCreator(creator);
    LoweringTest::TearDown();
  }

  static trtllm::NetworkLimits limits(int tokens = 128, bool gathers = false) {
    return {4, 48, 64, tokens, 32, gathers};
  }

  void lower_for_trtllm(const Graph& plain, DType dtype, bool gathers = false) {
    network.reset(tensorrt::create_network(*builder));
    graph = trtllm::pad_heads(plain, trtllm::padded_head_dim(plain.config.head_dim));
    weights.emplace(plain, dtype);
    padded.emplace(plain, graph, *weights);
    interface.emplace(limits(128, gathers), plain.config.head_dim, dtype);
    store.emplace(tensorrt::lower(graph, *padded, options(dtype), *network, *interface));
  }

  std::vector<const StandInAttention*> attentions() const {
    std::vector<const StandInAttention*> found;
    for (nvinfer1::ILayer* layer : layers()) {
      if (layer->getType() != nvinfer1::LayerType::kPLUGIN_V2) continue;
      found.push_back(
          dynamic_cast<const StandInAttention*>(&static_cast<nvinfer1::IPluginV2Layer*>(layer)->getPlugin()));
    }
    return found;
  }

  std::string message_of(const Graph& plain) {
    try {
      lower_for_trtllm(plain, DType::BFloat16);
    } catch (const Error& error) {
      return error.code() + ": " + error.what();
    }
    return "nothing";
  }

  StandInCreator creator;
  Graph graph;
  std::optional<ConstantWeights> weights;
  std::optional<trtllm::PaddedWeights> padded;
  std::optional<trtllm::TrtLlmInterface> interface;
  std::optional<tensorrt::WeightStore> store;
};

class TrtLlmNetworkOf : public TrtLlmNetwork, public testing::WithParamInterface<Model> {};

std::vector<Model> without_scaled_frequencies() {
  std::vector<Model> all = models();
  std::erase_if(all, [](const Model& model) { return !model.config.rotary.frequency_scale.empty(); });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Network, TrtLlmNetworkOf, testing::ValuesIn(without_scaled_frequencies()),
                         [](const auto& info) { return info.param.name; });

TEST_P(TrtLlmNetworkOf, HasItsInputsAttentionAndLogits) {
  for (const int ranks : GetParam().ranks) {
    for (int rank = 0; rank < ranks; ++rank) {
      for (const DType dtype : {DType::Float32, DType::Float16, DType::BFloat16}) {
        SCOPED_TRACE(std::string(name_of(dtype)) + ", rank " + std::to_string(rank) + " of " +
                     std::to_string(ranks));
        const Graph plain = build_graph(GetParam().config, {rank, ranks, true});
        try {
          lower_for_trtllm(plain, dtype);
        } catch (const std::exception& error) {
          FAIL() << error.what() << "\n" << log.problems();
        }
        const int64_t layer_count = GetParam().config.layers;
        const std::map<std::string, std::pair<std::vector<int64_t>, DataType>> expected = {
            {"input_ids", {{-1}, DataType::kINT32}},
            {"position_ids", {{-1}, DataType::kINT32}},
            {"last_token_ids", {{-1}, DataType::kINT32}},
            {"sequence_length", {{-1}, DataType::kINT32}},
            {"host_past_key_value_lengths", {{-1}, DataType::kINT32}},
            {"host_max_attention_window_sizes", {{layer_count}, DataType::kINT32}},
            {"host_sink_token_length", {{1}, DataType::kINT32}},
            {"context_lengths", {{-1}, DataType::kINT32}},
            {"cache_indirection", {{-1, 1, -1}, DataType::kINT32}},
            {"host_request_types", {{-1}, DataType::kINT32}},
            {"kv_cache_block_offsets", {{1, -1, 2, 2}, DataType::kINT32}},
            {"host_kv_cache_block_offsets", {{1, -1, 2, 2}, DataType::kINT32}},
            {"host_kv_cache_pool_pointers", {{1, 2}, DataType::kINT64}},
            {"host_kv_cache_pool_mapping", {{layer_count, 2}, DataType::kINT32}},
            {"host_context_lengths", {{-1}, DataType::kINT32}},
            {"host_runtime_perf_knobs", {{16}, DataType::kINT64}},
            {"host_context_progress", {{1}, DataType::kINT64}}};
        ASSERT_EQ(network->getNbInputs(), static_cast<int32_t>(expected.size()));
        for (int32_t i = 0; i < network->getNbInputs(); ++i) {
          const nvinfer1::ITensor& input = *network->getInput(i);
          ASSERT_TRUE(expected.count(input.getName())) << input.getName();
          EXPECT_EQ(sizes(input), expected.at(input.getName()).first) << input.getName();
          EXPECT_EQ(input.getType(), expected.at(input.getName()).second) << input.getName();
        }
        ASSERT_EQ(network->getNbOutputs(), 1);
        const int64_t vocab = (plain.config.vocab + ranks - 1) / ranks * ranks;
        EXPECT_EQ(sizes(*network->getOutput(0)), (std::vector<int64_t>{-1, vocab}));
        EXPECT_EQ(network->getOutput(0)->getType(), DataType::kFLOAT);

        const auto found = attentions();
        ASSERT_EQ(found.size(), static_cast<size_t>(layer_count));
        for (size_t layer = 0; layer < found.size(); ++layer) {
          const auto& values = found[layer]->values;
          EXPECT_EQ(values.at("layer_idx"), static_cast<double>(layer));
          EXPECT_EQ(values.at("num_heads"), plain.ways * plain.heads);
          EXPECT_EQ(values.at("num_kv_heads"), plain.ways * plain.kv_heads);
          EXPECT_EQ(values.at("head_size"), 32);
          EXPECT_EQ(values.at("context_fmha_type"), dtype == DType::Float32 ? 0 : 1);
          EXPECT_EQ(values.at("type_id"), static_cast<double>(tensorrt::data_type(dtype)));
          // 1 / (q_scaling · √head_size) is the scale of the true size.
          const double scale = 1 / (values.at("q_scaling") * std::sqrt(values.at("head_size")));
          EXPECT_NEAR(scale, 1 / std::sqrt(plain.config.head_dim), 1e-6);
        }
      }
    }
  }
}

// TensorRT-LLM expects logits of every token of the step then, whatever last_token_ids says.
TEST_P(TrtLlmNetworkOf, HasARowForEveryTokenWhereContextLogitsAreGathered) {
  const int ranks = GetParam().ranks.back();
  lower_for_trtllm(build_graph(GetParam().config, {0, ranks, true}), DType::BFloat16, true);
  for (int32_t i = 0; i < network->getNbInputs(); ++i) {
    EXPECT_STRNE(network->getInput(i)->getName(), "last_token_ids");
  }
  for (const nvinfer1::ILayer* layer : layers()) {
    EXPECT_EQ(std::string(layer->getName()).find(".wanted"), std::string::npos) << layer->getName();
  }
  const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
  trtllm::configure(*builder, *network, limits(128, true), *config);
  EXPECT_EQ(log.problems(), "");
}

TEST_P(TrtLlmNetworkOf, TakesItsProfiles) {
  lower_for_trtllm(build_graph(GetParam().config, {0, GetParam().ranks.back(), true}), DType::BFloat16);
  // As its runtime looks a profile up: the first of 64, 128, 256, 512, 1024 that is not below the step's
  // tokens.
  for (const auto& [most, profiles] : {std::pair{64, 1}, {65, 2}, {128, 2}, {129, 3}, {1024, 5}, {8192, 6}}) {
    const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
    trtllm::configure(*builder, *network, limits(most), *config);
    EXPECT_EQ(config->getNbOptimizationProfiles(), profiles) << most;
    EXPECT_EQ(log.problems(), "");
  }
}

// It binds cache_indirection for as many sequences as there can be: TensorRT would refuse the step if that
// dimension had the name of the step's own sequences.
TEST_F(TrtLlmNetwork, NamesEqualSizesAlike) {
  lower_for_trtllm(build_graph(kraken_config(2), {0, 2, true}), DType::BFloat16);
  std::map<std::string, std::string> names;
  for (int32_t i = 0; i < network->getNbInputs(); ++i) {
    const nvinfer1::ITensor& input = *network->getInput(i);
    for (int32_t d = 0; d < input.getDimensions().nbDims; ++d) {
      if (input.getDimensions().d[d] >= 0) continue;
      names[input.getName()] +=
          std::string(names[input.getName()].empty() ? "" : ",") + input.getDimensionName(d);
    }
  }
  EXPECT_EQ(names.at("cache_indirection"), "slots,window");
  EXPECT_EQ(names.at("last_token_ids"), "rows");
  for (const char* name : {"input_ids", "position_ids"}) EXPECT_EQ(names.at(name), "tokens");
  for (const char* name :
       {"sequence_length", "host_past_key_value_lengths", "context_lengths", "host_request_types",
        "host_context_lengths", "kv_cache_block_offsets", "host_kv_cache_block_offsets"}) {
    EXPECT_EQ(names.at(name), "sequences") << name;
  }
}

TEST_F(TrtLlmNetwork, NamesAFieldThatIsNew) {
  creator.add("rope_of_next_year", nvinfer1::PluginFieldType::kINT32);
  const std::string message = message_of(build_graph(kraken_config(2), {0, 2, true}));
  EXPECT_NE(message.find("ERR_BACKEND_UNAVAILABLE"), std::string::npos) << message;
  EXPECT_NE(message.find("rope_of_next_year"), std::string::npos) << message;
}

TEST_F(TrtLlmNetwork, NamesAFieldThatIsGone) {
  creator.remove("q_scaling");
  const std::string message = message_of(build_graph(kraken_config(2), {0, 2, true}));
  EXPECT_NE(message.find("ERR_BACKEND_UNAVAILABLE"), std::string::npos) << message;
  EXPECT_NE(message.find("lacks fields of 1.2 (q_scaling)"), std::string::npos) << message;
}

TEST_F(TrtLlmNetwork, SaysWhenThereIsNoAttentionPlugin) {
  builder->getPluginRegistry().deregisterCreator(creator);
  const std::string message = message_of(build_graph(kraken_config(2), {0, 2, true}));
  EXPECT_NE(message.find("no plugin tensorrt_llm::GPTAttention"), std::string::npos) << message;
  builder->getPluginRegistry().registerCreator(creator, "tensorrt_llm");
}

// Real checkpoints' heads, and a padded weight's rows and columns against the plain one's.
TEST(PadHeads, RoundsUpToWhatTheKernelsTake) {
  for (const auto& [plain, padded] : {std::pair{113, 128},
                                      {168, 192},
                                      {209, 256},
                                      {111, 128},
                                      {161, 192},
                                      {240, 256},
                                      {64, 64},
                                      {19, 32}}) {
    EXPECT_EQ(trtllm::padded_head_dim(plain), padded);
  }
  EXPECT_THROW(trtllm::padded_head_dim(257), Error);
}

class CountedWeights : public tensorrt::WeightReader {
 public:
  Stored read(const WeightSpec& weight) const override {
    size_t count = 1;
    for (const int64_t size : weight.shape) count *= static_cast<size_t>(size);
    values.assign(count, 0);
    for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i + 1);
    return {DType::Float32, reinterpret_cast<const std::byte*>(values.data())};
  }
  mutable std::vector<float> values;
};

TEST(PadHeads, PutsZerosBehindEveryHead) {
  ModelConfig config = kraken_config(2);
  add_biases(config);
  const Graph plain = build_graph(config, {0, 1, true});
  const Graph wide = trtllm::pad_heads(plain, 32);
  const CountedWeights counted;
  const trtllm::PaddedWeights padded(plain, wide, counted);
  const int64_t d = config.width, from = 19, to = 32;
  int rows = 0, columns = 0, biases = 0;
  for (size_t i = 0; i < plain.weights.size(); ++i) {
    const auto& before = plain.weights[i].shape;
    const auto& after = wide.weights[i].shape;
    if (before == after) continue;
    const auto stored = padded.read(wide.weights[i]);
    const auto* values = reinterpret_cast<const float*>(stored.data);
    if (after.size() == 3 && after[2] == d) {  // [W, heads·32, d]
      ++rows;
      for (int64_t way = 0; way < 2; ++way) {
        for (int64_t row = 0; row < after[1]; ++row) {
          const int64_t head = row / to, within = row % to;
          for (int64_t column = 0; column < d; ++column) {
            const int64_t source = (way * before[1] + head * from + within) * d + column;
            ASSERT_EQ(values[(way * after[1] + row) * d + column],
                      within < from ? static_cast<float>(source + 1) : 0);
          }
        }
      }
    } else if (after.size() == 3) {  // [W, d, heads·32]
      ++columns;
      for (int64_t row = 0; row < 2 * d; ++row) {
        for (int64_t column = 0; column < after[2]; ++column) {
          const int64_t head = column / to, within = column % to;
          const int64_t source = row * before[2] + head * from + within;
          ASSERT_EQ(values[row * after[2] + column], within < from ? static_cast<float>(source + 1) : 0);
        }
      }
    } else {
      ++biases;
    }
  }
  EXPECT_EQ(rows, config.layers);
  EXPECT_EQ(columns, config.layers);
  EXPECT_EQ(biases, config.layers);
}

}  // namespace
}  // namespace kraken::test
