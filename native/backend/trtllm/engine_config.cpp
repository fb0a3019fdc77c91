#include "backend/trtllm/engine_config.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"

namespace kraken::trtllm {

EngineConfig read_engine_config(const std::string& directory) {
  const std::string file = directory + "/config.json";
  std::ifstream stream(file);
  if (!stream) {
    throw Error(
        "ERR_ENGINE_PATH",
        file + " cannot be read here: every machine that runs ranks needs the engine at the same path");
  }
  std::ostringstream text;
  text << stream.rdbuf();
  try {
    EngineConfig config;
    config.text = text.str();
    const auto json = nlohmann::json::parse(config.text);
    const auto& pretrained = json.at("pretrained_config");
    const auto& build = json.at("build_config");
    config.version = json.at("version").get<std::string>();
    config.ranks = pretrained.at("mapping").at("tp_size").get<int>();
    config.gpus_per_node = pretrained.at("mapping").value("gpus_per_node", 8);
    config.vocab = pretrained.at("vocab_size").get<int32_t>();
    config.padded_vocab = (config.vocab + config.ranks - 1) / config.ranks * config.ranks;
    config.max_batch_size = build.at("max_batch_size").get<int32_t>();
    config.max_input_len = build.at("max_input_len").get<int32_t>();
    config.max_seq_len = build.at("max_seq_len").get<int32_t>();
    config.max_num_tokens = build.at("max_num_tokens").get<int32_t>();
    config.tokens_per_block = build.at("plugin_config").at("tokens_per_block").get<int32_t>();
    config.gathers_context_logits = build.at("gather_context_logits").get<bool>();
    if (const auto kraken = json.find("kraken"); kraken != json.end()) {
      config.plugins = kraken->at("plugins").get<int32_t>();
      config.exchange_bytes = kraken->at("exchange_bytes").get<int64_t>();
    }
    return config;
  } catch (const nlohmann::json::exception& error) {
    throw Error("ERR_ENGINE_CORRUPT", file + " is not the configuration of a TensorRT-LLM engine (" +
                                          error.what() + "): build it again");
  }
}

void check_version(const std::string& library, const std::string& engine) {
  if (library.rfind("1.2.", 0) != 0) {
    throw Error("ERR_BACKEND_UNAVAILABLE",
                "TensorRT-LLM " + library +
                    " is installed, backend \"tensorrt-llm\" needs 1.2.x: from 1.3 on it "
                    "runs no TensorRT engines any more, and before 1.2 its interface differs. Install "
                    "tensorrt-llm==1.2.1, or build the engine with backend \"tensorrt\"");
  }
  if (library != engine) {
    throw Error("ERR_ENGINE_VERSION", "the engine was built for TensorRT-LLM " + engine + ", and " + library +
                                          " is installed: build it again, or install " + engine);
  }
}

}  // namespace kraken::trtllm
