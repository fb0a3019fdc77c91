// Builds the plans of an engine's ranks, one after another: TensorRT times kernels, and ranks that share a
// machine would time each other. The ranks of a Kraken have the same network, so from the second on most
// timings are known.
#pragma once

#include <functional>
#include <string>

#include "backend/tensorrt/device.h"
#include "backend/tensorrt/plugins_library.h"
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

// What kraken-worker does for a build. Returns the facts (JSON) that the manifest keeps. Throws
// ERR_BACKEND_UNAVAILABLE, ERR_BACKEND_FAILED, ERR_OUT_OF_MEMORY, ERR_OPTION, ERR_IO; ERR_ABORTED when
// cancelled. Files may be incomplete then: the caller removes the directory.
std::string build_plans(const PlanOptions& options, const PlanProgress& progress);

namespace tensorrt {

// The same over a TensorRT that is open.
std::string build_plans_with(const TensorRt& tensorrt, const PluginsLibrary& plugins,
                             const PlanOptions& options, const PlanProgress& progress);

}  // namespace tensorrt
}  // namespace kraken
