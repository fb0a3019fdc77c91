// What surrounds TensorRT-LLM's attention, in numbers: heads padded by zeros, all ways' heads in one call,
// and the way back. Its plugin cannot run here; ours stands in its place, over the same packed heads, with
// the scale that q_scaling gives. The CPU backend says what is right.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <list>
#include <numeric>
#include <optional>

#include "backend/tensorrt/kraken_interface.h"
#include "backend/tensorrt/plugin_layers.h"
#include "backend/trtllm/network/pad_heads.h"
#include "backend/trtllm/network/trtllm_interface.h"
#include "comm/local/local_group.h"
#include "host_ranks.h"
#include "models.h"
#include "script.h"

namespace kraken::test {
namespace {

using tensorrt::Layers;
using tensorrt::Tensor;

constexpr int kMaxTokens = 32, kMaxSequences = 4, kMaxContext = 40, kBlockTokens = 4, kBlocks = 40;

const tensorrt::LoweringOptions kOptions = {DType::Float32, kMaxTokens,  kMaxSequences,
                                            kMaxSequences,  kMaxContext, kBlockTokens};

// TensorRT-LLM's way in and out of attention, between our runtime's inputs and our plugin.
class OurAttention final : public trtllm::TrtLlmInterface {
 public:
  OurAttention(int true_head_dim, bool all_rows)
      : TrtLlmInterface({kMaxSequences, kMaxContext, kMaxContext, kMaxTokens, kBlockTokens, all_rows},
                        true_head_dim, DType::Float32),
        true_head_dim_(true_head_dim),
        all_rows_(all_rows) {}

  void add_inputs(const Layers& layers, const Graph& graph) override {
    ours_.add_inputs(layers, graph);
    for (int32_t i = 0; i < layers.network().getNbInputs(); ++i)
      inputs_.push_back(layers.network().getInput(i));
  }
  Tensor ids() const override { return ours_.ids(); }
  Tensor positions() const override { return ours_.positions(); }
  Tensor wanted_rows() const override { return all_rows_ ? nullptr : ours_.wanted_rows(); }
  Tensor logits(const Layers&, const Graph&, Tensor columns) override { return columns; }

 protected:
  Tensor attend(const Layers& layers, const Graph& graph, const Op& op, Tensor packed) override {
    const ModelConfig& config = graph.config;
    const auto values = trtllm::attention_fields(
        graph, {true_head_dim_, kMaxContext, kBlockTokens, kMaxContext, false, DType::Float32}, op.layer);
    const auto integer = [&](const char* name) { return static_cast<int32_t>(values.at(name)); };
    const int heads = integer("num_heads"), kv_heads = integer("num_kv_heads"), size = integer("head_size");
    const auto scale = static_cast<float>(1 / (values.at("q_scaling") * std::sqrt(size)));
    Tensor one = layers.reshape(op.name + "/one", packed, {1, -1, (heads + 2 * kv_heads) * size});
    Tensor made =
        tensorrt::add_plugin(layers.network(), op.name + "/attend", "Attention",
                             {{"layer", op.layer},
                              {"ways", 1},
                              {"heads", heads},
                              {"kv_heads", kv_heads},
                              {"head_dim", size},
                              {"scale", scale},
                              {"rotary_dims", integer("rotary_embedding_dim")},
                              {"rotary_base", static_cast<float>(values.at("rotary_embedding_base"))},
                              {"rotary_style", config.rotary.dims == 0     ? 0
                                               : config.rotary.interleaved ? 2
                                                                           : 1},
                              {"last_tokens", 0},
                              {"block_tokens", kBlockTokens},
                              {"max_context", kMaxContext}},
                             {one, inputs_[1], inputs_[2], inputs_[3], inputs_[4]});
    return layers.reshape(op.name + "/flat", made, {-1, heads * size});
  }

 private:
  const int true_head_dim_;
  const bool all_rows_;
  tensorrt::KrakenInterface ours_{kOptions};
  std::vector<Tensor>
      inputs_;  // as ours are declared: ids, positions, sequence_begins, past_lengths, block_tables, …
};

// What a rank's network points into.
struct Kept {
  Graph plain, padded;
  std::optional<trtllm::PaddedWeights> weights;
  std::optional<OurAttention> interface;
};

class TrtLlmNumbersOf : public testing::TestWithParam<Model> {};

std::vector<Model> without_scaled_frequencies() {
  std::vector<Model> all = models();
  std::erase_if(all, [](const Model& model) { return !model.config.rotary.frequency_scale.empty(); });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Models, TrtLlmNumbersOf, testing::ValuesIn(without_scaled_frequencies()),
                         [](const auto& info) { return info.param.name; });

// `all_rows`: an engine that gathers the logits of prompts, whose steps have a row for every token.
void compare_with_the_cpu_backend(HostTensorRt* tensorrt, const Model& model, const std::vector<int>& counts,
                                  bool all_rows) {
  const RandomModel random(model.config);
  const Graph graph = build_graph(random.config(), {0, 1, true});
  const auto group = make_local_group(1);
  CompileOptions compile;
  compile.max_tokens = kMaxTokens;
  compile.max_sequences = compile.kv_blocks = kMaxSequences;
  compile.max_rows = all_rows ? kMaxTokens : kMaxSequences;
  compile.max_context = kMaxContext;
  for (const int ranks : counts) {
    const auto reference = cpu_backend().compile(graph, random.rank_path(graph), *group[0], compile);
    std::list<Kept> kept;
    HostEngineOptions options;
    options.ranks = ranks;
    options.lowering = kOptions;
    options.kv_blocks = kBlocks;
    options.lower = [&](Graph& rank, const tensorrt::WeightReader& weights,
                        nvinfer1::INetworkDefinition& network) -> tensorrt::WeightStore {
      Kept& parts = kept.emplace_back();
      parts.plain = rank;
      parts.padded = trtllm::pad_heads(rank, trtllm::padded_head_dim(rank.config.head_dim));
      parts.weights.emplace(parts.plain, parts.padded, weights);
      parts.interface.emplace(rank.config.head_dim, all_rows);
      rank = parts.padded;
      return tensorrt::lower(parts.padded, *parts.weights, kOptions, network, *parts.interface);
    };
    const HostEngine engine(*tensorrt, random, options);
    const int vocab = random.config().vocab;
    Batches wanted(vocab, cpu_backend().kv_block_tokens(), kMaxSequences),
        given(vocab, kBlockTokens, kBlocks);
    double worst = 0;
    for (const std::vector<Turn>& turns : mixed_script()) {
      StepBatch batch = wanted.next(turns), theirs = given.next(turns);
      std::vector<int32_t> rows(batch.tokens.size());
      std::iota(rows.begin(), rows.end(), 0);
      if (all_rows) batch.wanted_rows = theirs.wanted_rows = rows;
      std::vector<float> want(batch.wanted_rows.size() * static_cast<size_t>(vocab));
      reference->step(batch, want.data());
      const std::vector<float> got = engine.step(theirs);
      double error = 0, norm = 0;
      for (size_t i = 0; i < want.size(); ++i) {
        error += std::pow(static_cast<double>(got[i]) - static_cast<double>(want[i]), 2);
        norm += std::pow(static_cast<double>(want[i]), 2);
      }
      worst = std::max(worst, std::sqrt(error / norm));
    }
    std::printf("  %-20s R=%d  %.2e (%3.0f %% of tolerance)\n", model.name.c_str(), ranks, worst,
                100 * worst / 1e-5);
    EXPECT_TRUE(worst <= 1e-5) << worst;
  }
}

TEST_P(TrtLlmNumbersOf, AreThoseOfTheCpuBackend) {
  std::string why_not;
  HostTensorRt* tensorrt = HostTensorRt::get(why_not);
  if (tensorrt == nullptr) GTEST_SKIP() << why_not;
  compare_with_the_cpu_backend(tensorrt, GetParam(), GetParam().ranks, false);
}

TEST_P(TrtLlmNumbersOf, AreThoseOfTheCpuBackendForEveryToken) {
  std::string why_not;
  HostTensorRt* tensorrt = HostTensorRt::get(why_not);
  if (tensorrt == nullptr) GTEST_SKIP() << why_not;
  compare_with_the_cpu_backend(tensorrt, GetParam(), {GetParam().ranks.back()}, true);
}

}  // namespace
}  // namespace kraken::test
