#include "model/config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace kraken {
namespace {

using Json = nlohmann::json;

Architecture architecture_of(const std::string& name) {
  if (name == "kraken") return Architecture::Kraken;
  if (name == "gpt") return Architecture::Gpt;
  if (name == "parallel") return Architecture::Parallel;
  if (name == "ladder") return Architecture::Ladder;
  throw Error("ERR_CONFIG", "model config: unknown architecture " + name);
}

Activation activation_of(const std::string& name) {
  if (name == "gelu_tanh") return Activation::GeluTanh;
  if (name == "gelu_erf") return Activation::GeluErf;
  if (name == "swiglu") return Activation::SwiGlu;
  throw Error("ERR_CONFIG", "model config: unknown activation " + name);
}

RotaryConfig rotary_of(const Json& json) {
  RotaryConfig rotary;
  json.at("dims").get_to(rotary.dims);
  json.at("base").get_to(rotary.base);
  json.at("interleaved").get_to(rotary.interleaved);
  if (json.contains("frequencyScale")) json.at("frequencyScale").get_to(rotary.frequency_scale);
  return rotary;
}

ModelConfig from_json(const Json& json) {
  ModelConfig config;
  config.architecture = architecture_of(json.at("architecture").get<std::string>());
  json.at("layers").get_to(config.layers);
  json.at("hiddenSize").get_to(config.width);
  json.at("heads").get_to(config.heads);
  json.at("kvHeads").get_to(config.kv_heads);
  json.at("headDim").get_to(config.head_dim);
  json.at("ffnSize").get_to(config.ffn);
  json.at("vocabSize").get_to(config.vocab);
  json.at("maxPositions").get_to(config.max_positions);
  const Json& norm = json.at("norm");
  config.norm.kind = norm.at("kind").get<std::string>() == "rms" ? NormKind::Rms : NormKind::Layer;
  norm.at("eps").get_to(config.norm.eps);
  norm.at("bias").get_to(config.norm.bias);
  config.activation = activation_of(json.at("activation").get<std::string>());
  const Json& positions = json.at("positions");
  config.learned_positions = positions.at("kind").get<std::string>() == "learned";
  if (!config.learned_positions) config.rotary = rotary_of(positions);
  const Json& bias = json.at("bias");
  bias.at("qkv").get_to(config.bias.qkv);
  bias.at("attnProj").get_to(config.bias.attn_proj);
  bias.at("mlp").get_to(config.bias.mlp);
  bias.at("head").get_to(config.bias.head);
  json.at("tiedHead").get_to(config.tied_head);
  if (config.architecture == Architecture::Kraken) {
    json.at("ways").get_to(config.ways);
    json.at("conjunctionBias").get_to(config.bias.conjunction);
  }
  if (config.architecture == Architecture::Parallel) json.at("separateNorms").get_to(config.separate_norms);
  return config;
}

}  // namespace

ModelConfig parse_model_config(const std::string& json) {
  ModelConfig config;
  try {
    config = from_json(Json::parse(json));
  } catch (const Json::exception& error) {
    throw Error("ERR_CONFIG", std::string("model config: ") + error.what());
  }
  for (const int size : {config.ways, config.layers, config.width, config.heads, config.kv_heads,
                         config.head_dim, config.ffn, config.vocab, config.max_positions}) {
    if (size < 1) throw Error("ERR_CONFIG", "model config: sizes must be positive");
  }
  if (config.heads % config.kv_heads != 0) {
    throw Error("ERR_CONFIG", "model config: kvHeads must divide heads");
  }
  return config;
}

}  // namespace kraken
