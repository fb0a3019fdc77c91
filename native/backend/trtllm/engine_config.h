// What an engine directory's config.json says to the ranks that run it: TensorRT-LLM's own keys and ours, in
// one file.
#pragma once

#include <cstdint>
#include <string>

namespace kraken::trtllm {

struct EngineConfig {
  std::string version;  // of the TensorRT-LLM it was built for
  int ranks = 0, gpus_per_node = 8;
  int32_t vocab = 0, padded_vocab = 0;
  int32_t max_batch_size = 0, max_input_len = 0, max_seq_len = 0, max_num_tokens = 0, tokens_per_block = 0;
  bool gathers_context_logits = false;
  // Of our plugins: how many the engine of one rank has, and the bytes of their largest exchange. None: 0.
  int32_t plugins = 0;
  int64_t exchange_bytes = 0;
  std::string text;  // the whole file, to see that all ranks have the same
};

// Throws ERR_ENGINE_PATH (no such file), ERR_ENGINE_CORRUPT (not what it should be).
EngineConfig read_engine_config(const std::string& directory);

// Throws ERR_BACKEND_UNAVAILABLE for a TensorRT-LLM that cannot run engines, ERR_ENGINE_VERSION for one of
// another 1.2 than the engine was built for.
void check_version(const std::string& library, const std::string& engine);

}  // namespace kraken::trtllm
