// What building the plans of an engine is told. Apart from what builds them, since it also crosses to
// kraken-worker.
#pragma once

#include <functional>
#include <string>

#include "base/dtype.h"

namespace kraken {

struct PlanOptions {
  std::string directory;     // rank0.weights … are there, and are replaced by rank0.engine …
  std::string model_config;  // JSON of the ModelConfig
  int ranks = 1;
  DType dtype = DType::BFloat16;
  bool communication = true;
  int ranks_per_device = 1;
  int max_tokens = 0, max_sequences = 0, max_rows = 0, max_context = 0;  // tensorrt::StepLimits
  // For TensorRT-LLM's runtime instead of ours: tokens of the longest prompt, and whether it wants logits of
  // all of them. 0: for ours.
  int trtllm_max_input = 0;
  bool gathers_context_logits = false;
  std::string timings;  // folder of timing caches; made where it is missing. Empty: none is kept
};

// Called now and then, from any thread, one call at a time; false cancels.
using PlanProgress = std::function<bool(double done)>;

}  // namespace kraken
