// config.json as TensorRT-LLM 1.2 reads it: what it requires, what it may leave out, and what it refuses.
// Written from a description of these rules (what the keys are called, which must be there), so that a file
// this accepts is one that the original is expected to accept.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

namespace tensorrt_llm::executor {

struct JsonConfig {
  std::string version, dtype, logits_dtype;
  int tp_size = 0, pp_size = 1, vocab_size = 0, layers = 0;
  int max_batch_size = 0, max_beam_width = 0, max_input_len = 0, max_seq_len = 0, max_num_tokens = 0;
  int tokens_per_block = 0;
  bool gather_context_logits = false, paged_context_fmha = false;
  nlohmann::json all;
};

// Throws std::runtime_error, or what the JSON library throws.
JsonConfig parse_json_config(const std::filesystem::path& file);

}  // namespace tensorrt_llm::executor
