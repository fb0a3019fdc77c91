// Our requests in TensorRT-LLM's words. docs/tensorrt-llm.md has the table; what has no counterpart is
// refused with ERR_OPTION, never approximated.
#pragma once

#include <tensorrt_llm/executor/executor.h>

#include <vector>

#include "backend/trtllm/engine_config.h"
#include "runtime/executor.h"

namespace kraken::trtllm {

// One for each sample. Throws ERR_OPTION, ERR_CONTEXT_LENGTH.
std::vector<tensorrt_llm::executor::Request> to_requests(const Request& request, const EngineConfig& engine);

}  // namespace kraken::trtllm
