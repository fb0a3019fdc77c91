// What the manifest of an engine records of how its plans were built, and what must still hold where they
// run: a plan works with the TensorRT and on the kind of GPU that it was built with, and nowhere else.
#pragma once

#include <string>
#include <vector>

#include "backend/tensorrt/device.h"

namespace kraken::tensorrt {

struct EngineFacts {
  std::string tensorrt;        // version, "10.15.1"
  std::string gpu;             // its name
  int compute_capability = 0;  // 90
  std::string plugins;         // version of Kraken's plugins
  int block_tokens = 0;        // tokens of a KV block
  StepLimits limits;
  std::vector<int> plugin_layers;  // of each rank's plan
};

// As the manifest keeps them: a JSON object.
std::string to_json(const EngineFacts& facts);
// Throws ERR_ENGINE_CORRUPT for what is no such object, or records of another number of ranks.
EngineFacts parse_engine_facts(const std::string& json, int ranks);

// What is here, to compare with.
struct Installed {
  std::string tensorrt, plugins;
  DeviceInfo device;
};
// Throws ERR_ENGINE_BACKEND, which says what differs and that the engine must be built again.
void check_built_for(const EngineFacts& facts, const Installed& installed);

// "9.0"
std::string dotted_capability(int compute_capability);

}  // namespace kraken::tensorrt
