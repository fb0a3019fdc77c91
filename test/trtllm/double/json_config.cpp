#include "json_config.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <stdexcept>

namespace tensorrt_llm::executor {
namespace {

using Json = nlohmann::json;

void check(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("[TensorRT-LLM][ERROR] Assertion failed: " + what);
}

template <typename Value>
Value value_or(const Json& json, const char* key, Value otherwise) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? otherwise : found->get<Value>();
}

}  // namespace

JsonConfig parse_json_config(const std::filesystem::path& file) {
  check(std::filesystem::exists(file), "File does not exist: " + file.string());
  std::ifstream stream(file);
  JsonConfig config;
  config.all = Json::parse(stream);
  const Json& json = config.all;
  check(json.contains("version"), "an engine without version has the old layout of files");
  config.version = json.at("version").get<std::string>();
  const Json& pretrained = json.at("pretrained_config");
  const Json& build = json.at("build_config");
  const Json& plugins = build.at("plugin_config");

  const auto architecture = pretrained.at("architecture").get<std::string>();
  check(architecture.find("GLM") == std::string::npos || pretrained.contains("chatglm_version"),
        "GLM needs chatglm_version");
  for (const char* other : {"Mamba", "RecurrentGemma", "EncoderModel"}) {
    check(architecture.find(other) == std::string::npos,
          std::string("the name makes it another kind: ") + other);
  }
  config.dtype = pretrained.at("dtype").get<std::string>();
  constexpr std::array kTypes = {"float32", "float16", "bfloat16"};
  check(std::find(kTypes.begin(), kTypes.end(), config.dtype) != kTypes.end(),
        "unknown dtype " + config.dtype);
  config.logits_dtype = value_or<std::string>(pretrained, "logits_dtype", "float32");
  check(config.logits_dtype == "float32" || config.logits_dtype == "float16", "unknown logits_dtype");
  const Json& mapping = pretrained.at("mapping");
  config.tp_size = mapping.at("tp_size").get<int>();
  config.pp_size = value_or(mapping, "pp_size", 1);
  const int context_parallel = value_or(mapping, "cp_size", 1);
  config.layers = pretrained.at("num_hidden_layers").get<int>();
  const int heads = pretrained.at("num_attention_heads").get<int>();
  const int hidden = pretrained.at("hidden_size").get<int>();
  config.vocab_size = pretrained.at("vocab_size").get<int>();
  const Json& quantization = pretrained.at("quantization");
  check(quantization.is_object(), "quantization must be an object");
  for (const char* key : {"quant_algo", "kv_cache_quant_algo"}) {
    const auto found = quantization.find(key);
    check(found == quantization.end() || found->is_null() || found->is_string(), key);
  }
  const int kv_heads = value_or(pretrained, "num_key_value_heads", heads);
  const int head_size = value_or(pretrained, "head_size", hidden / heads);
  check(heads % (config.tp_size * context_parallel) == 0, "heads do not divide over the ranks");
  check(hidden % config.tp_size == 0, "hidden_size does not divide over the ranks");
  check(kv_heads % (config.tp_size * context_parallel) == 0 || kv_heads < config.tp_size,
        "key/value heads do not divide over the ranks");
  check(head_size > 0 && head_size % 8 == 0, "head_size must be a multiple of 8 for the attention kernels");

  config.max_batch_size = build.at("max_batch_size").get<int>();
  config.max_beam_width = build.at("max_beam_width").get<int>();
  config.max_input_len = build.at("max_input_len").get<int>();
  config.max_seq_len = build.at("max_seq_len").get<int>();
  check(config.max_input_len <= config.max_seq_len, "max_input_len is over max_seq_len");
  value_or(build, "max_prompt_embedding_table_size", 0);
  config.gather_context_logits = value_or(build, "gather_context_logits", false);
  value_or(build, "gather_generation_logits", false);
  auto kv_cache = value_or<std::string>(build, "kv_cache_type", "continuous");
  std::transform(kv_cache.begin(), kv_cache.end(), kv_cache.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  check(kv_cache == "continuous" || kv_cache == "paged" || kv_cache == "disabled", "unknown kv_cache_type");
  check(build.at("lora_config").is_object(), "lora_config must be an object");
  check(value_or(build, "speculative_decoding_mode", 1) == 1 && value_or(build, "max_draft_len", 0) == 0,
        "speculative decoding");

  // Whatever is not null counts as on.
  check(!plugins.at("gpt_attention_plugin").is_null(), "in-flight batching needs the attention plugin");
  const bool packed = plugins.at("remove_input_padding").get<bool>();
  check(packed, "in-flight batching needs packed input");
  config.max_num_tokens = build.at("max_num_tokens").get<int>();
  check(plugins.at("paged_kv_cache").get<bool>(), "in-flight batching needs a paged cache");
  config.tokens_per_block = plugins.at("tokens_per_block").get<int>();
  check(config.tokens_per_block >= 1 && (config.tokens_per_block & (config.tokens_per_block - 1)) == 0,
        "tokens_per_block must be a power of two");
  plugins.at("context_fmha").get<bool>();
  config.paged_context_fmha = plugins.at("use_paged_context_fmha").get<bool>();
  plugins.at("lora_plugin");
  for (const char* key : {"paged_state", "manage_weights", "pp_reduce_scatter"})
    value_or(plugins, key, false);
  return config;
}

}  // namespace tensorrt_llm::executor
