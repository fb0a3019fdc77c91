// Small models with odd sizes that between them have every op and every attribute.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "model/config.h"

namespace kraken::test {

struct Model {
  std::string name;
  ModelConfig config;
  std::vector<int> ranks;
};

// For GoogleTest's messages.
inline void PrintTo(const Model& model, std::ostream* out) {
  *out << model.name;
}

inline ModelConfig kraken_config(int ways) {
  ModelConfig config;
  config.architecture = Architecture::Kraken;
  config.ways = ways;
  config.layers = 3;
  config.width = 38;
  config.heads = config.kv_heads = 2;
  config.head_dim = 19;
  config.ffn = 45;
  config.vocab = 53;
  config.max_positions = 64;
  return config;
}

inline ModelConfig split_config(Architecture architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.layers = 3;
  config.width = 30;
  config.heads = config.kv_heads = 4;
  config.head_dim = 7;
  config.ffn = 43;
  config.vocab = 53;
  config.max_positions = 64;
  return config;
}

inline void add_biases(ModelConfig& config) {
  config.norm.bias = true;
  config.bias = {true, true, true, true, config.architecture == Architecture::Kraken};
}

// RMS norm, SwiGLU, rotary positions, grouped key/value heads.
inline void modernise(ModelConfig& config, bool interleaved) {
  config.norm = {NormKind::Rms, 1e-6f, false};
  config.activation = Activation::SwiGlu;
  config.learned_positions = false;
  config.rotary.dims = 4;
  config.rotary.interleaved = interleaved;
  config.kv_heads = config.heads / 2;
  config.tied_head = false;
}

inline std::vector<Model> models() {
  std::vector<Model> all;
  const auto add = [&](const char* name, std::vector<int> ranks, ModelConfig config) -> ModelConfig& {
    all.push_back({name, std::move(config), std::move(ranks)});
    return all.back().config;
  };
  add("kraken2", {1, 2}, kraken_config(2));
  add_biases(add("kraken4_biases", {1, 2, 4}, kraken_config(4)));
  add("kraken6", {1, 2, 3}, kraken_config(6));
  modernise(add("kraken4_modern", {1, 2, 4}, kraken_config(4)), true);
  add("kraken2_one_layer", {1, 2}, kraken_config(2)).layers = 1;
  add("gpt", {1, 2, 4}, split_config(Architecture::Gpt));
  add_biases(add("gpt_biases", {1, 4}, split_config(Architecture::Gpt)));
  ModelConfig& llama = add("gpt_modern", {1, 2}, split_config(Architecture::Gpt));
  modernise(llama, false);
  llama.rotary.frequency_scale = {1, 0.25};
  ModelConfig& neox = add("parallel_erf", {1, 2, 4}, split_config(Architecture::Parallel));
  add_biases(neox);
  neox.activation = Activation::GeluErf;
  ModelConfig& gptj = add("parallel_one_norm", {1, 2}, split_config(Architecture::Parallel));
  gptj.separate_norms = false;
  gptj.learned_positions = false;
  gptj.rotary.dims = 6;
  gptj.rotary.interleaved = true;
  add("ladder", {1, 2, 4}, split_config(Architecture::Ladder));
  add_biases(add("ladder_biases", {2}, split_config(Architecture::Ladder)));
  add("ladder_one_layer", {1, 2}, split_config(Architecture::Ladder)).layers = 1;
  return all;
}

}  // namespace kraken::test
