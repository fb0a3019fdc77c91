// Our TensorRT plugins in a rank that TensorRT-LLM runs: registered in the libnvinfer that it uses, before it
// reads the engine, and given their communicator while it creates its execution contexts, which it does
// inside the constructor of Executor, on the calling thread.
#pragma once

#include <memory>

#include "backend/trtllm/engine_config.h"
#include "backend/trtllm/mpi_world.h"

namespace kraken::trtllm {

class PluginLibrary {
 public:
  virtual ~PluginLibrary() = default;
  // Around the constructor of Executor. end_contexts() throws ERR_ENGINE_CORRUPT when fewer plugins found
  // their communicator than the engine has: it would compute without its peers.
  virtual void begin_contexts() = 0;
  virtual void end_contexts() = 0;
};

// An engine without plugins of ours needs none, and gets one that does nothing. All ranks call it. Throws
// ERR_BACKEND_UNAVAILABLE when a library is missing or of another TensorRT major.
std::unique_ptr<PluginLibrary> open_plugins(const EngineConfig& engine, MpiWorld& world);

}  // namespace kraken::trtllm
