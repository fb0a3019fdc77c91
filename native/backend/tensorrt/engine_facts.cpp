#include "backend/tensorrt/engine_facts.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace kraken::tensorrt {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void corrupt(const std::string& what) {
  throw Error("ERR_ENGINE_CORRUPT", "the manifest says nothing sensible of its TensorRT plans (" + what +
                                        "): build the engine again");
}

int count(const Json& object, const char* name) {
  const Json& value = object.at(name);
  if (!value.is_number_integer() || value < 1 || value > (1 << 30)) corrupt(name);
  return value;
}

}  // namespace

std::string dotted_capability(int compute_capability) {
  return std::to_string(compute_capability / 10) + "." + std::to_string(compute_capability % 10);
}

std::string to_json(const EngineFacts& facts) {
  Json json;
  json["version"] = facts.tensorrt;
  json["gpu"] = facts.gpu;
  json["computeCapability"] = facts.compute_capability;
  json["plugins"] = facts.plugins;
  json["maxStepTokens"] = facts.limits.max_tokens;
  json["maxBatchSize"] = facts.limits.max_sequences;
  json["maxRows"] = facts.limits.max_rows;
  json["maxSequenceLength"] = facts.limits.max_context;
  json["kvBlockTokens"] = facts.block_tokens;
  json["pluginLayers"] = facts.plugin_layers;
  return json.dump();
}

EngineFacts parse_engine_facts(const std::string& json, int ranks) {
  EngineFacts facts;
  try {
    const Json object = Json::parse(json);
    facts.tensorrt = object.at("version");
    facts.gpu = object.at("gpu");
    facts.compute_capability = count(object, "computeCapability");
    facts.plugins = object.at("plugins");
    facts.limits.max_tokens = count(object, "maxStepTokens");
    facts.limits.max_sequences = count(object, "maxBatchSize");
    facts.limits.max_rows = count(object, "maxRows");
    facts.limits.max_context = count(object, "maxSequenceLength");
    facts.block_tokens = count(object, "kvBlockTokens");
    facts.plugin_layers = object.at("pluginLayers").get<std::vector<int>>();
  } catch (const Json::exception& error) {
    corrupt(error.what());
  }
  if (facts.plugin_layers.size() != static_cast<size_t>(ranks)) corrupt("pluginLayers");
  return facts;
}

void check_built_for(const EngineFacts& facts, const Installed& installed) {
  const auto gpu = [](const std::string& name, int capability) {
    return name + " (compute capability " + dotted_capability(capability) + ")";
  };
  std::string differs;
  const auto compare = [&](const std::string& built, const std::string& here) {
    if (built != here) differs += (differs.empty() ? "" : ", ") + built + " (here: " + here + ")";
  };
  compare("TensorRT " + facts.tensorrt, "TensorRT " + installed.tensorrt);
  compare("plugins " + facts.plugins, "plugins " + installed.plugins);
  compare(gpu(facts.gpu, facts.compute_capability),
          gpu(installed.device.name, installed.device.compute_capability));
  if (differs.empty()) return;
  throw Error(
      "ERR_ENGINE_BACKEND",
      "the engine was built with " + differs +
          ": plans run only with the TensorRT and on the kind of GPU that they were built with; build "
          "it again on this machine (kraken build --backend tensorrt)");
}

}  // namespace kraken::tensorrt
