// A model's configuration as engines and the addon's caller write it down.
#pragma once

#include <nlohmann/json.hpp>

#include "model/config.h"

namespace kraken::test {

inline const char* name_in_json(Architecture architecture) {
  switch (architecture) {
    case Architecture::Kraken:
      return "kraken";
    case Architecture::Gpt:
      return "gpt";
    case Architecture::Parallel:
      return "parallel";
    case Architecture::Ladder:
      return "ladder";
  }
  return "";
}

inline const char* name_in_json(Activation activation) {
  return activation == Activation::SwiGlu    ? "swiglu"
         : activation == Activation::GeluErf ? "gelu_erf"
                                             : "gelu_tanh";
}

// As parse_model_config() reads it.
inline nlohmann::json model_json(const ModelConfig& config) {
  nlohmann::json positions = {{"kind", "learned"}};
  if (!config.learned_positions) {
    positions = {{"kind", "rotary"},
                 {"dims", config.rotary.dims},
                 {"base", config.rotary.base},
                 {"interleaved", config.rotary.interleaved}};
    if (!config.rotary.frequency_scale.empty()) positions["frequencyScale"] = config.rotary.frequency_scale;
  }
  return {{"architecture", name_in_json(config.architecture)},
          {"ways", config.ways},
          {"layers", config.layers},
          {"hiddenSize", config.width},
          {"heads", config.heads},
          {"kvHeads", config.kv_heads},
          {"headDim", config.head_dim},
          {"ffnSize", config.ffn},
          {"vocabSize", config.vocab},
          {"maxPositions", config.max_positions},
          {"norm",
           {{"kind", config.norm.kind == NormKind::Rms ? "rms" : "layer"},
            {"eps", config.norm.eps},
            {"bias", config.norm.bias}}},
          {"activation", name_in_json(config.activation)},
          {"positions", positions},
          {"bias",
           {{"qkv", config.bias.qkv},
            {"attnProj", config.bias.attn_proj},
            {"mlp", config.bias.mlp},
            {"head", config.bias.head}}},
          {"conjunctionBias", config.bias.conjunction},
          {"separateNorms", config.separate_norms},
          {"tiedHead", config.tied_head}};
}

}  // namespace kraken::test
