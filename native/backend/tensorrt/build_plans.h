// Builds the plans of an engine's ranks, one after another: TensorRT times kernels, and ranks that share a
// machine would time each other. The ranks of a Kraken have the same network, so from the second on most
// timings are known.
#pragma once

#include <string>

#include "backend/tensorrt/device.h"
#include "backend/tensorrt/plan_options.h"
#include "backend/tensorrt/plugins_library.h"
#include "model/config.h"

namespace kraken {

// What kraken-worker does for a build. Returns the facts (JSON) that the manifest keeps. Throws
// ERR_BACKEND_UNAVAILABLE, ERR_BACKEND_FAILED, ERR_OUT_OF_MEMORY, ERR_OPTION, ERR_IO; ERR_ABORTED when
// cancelled. Files may be incomplete then: the caller removes the directory.
std::string build_plans(const PlanOptions& options, const PlanProgress& progress);

namespace tensorrt {

// The same over a TensorRT that is open, of the given model.
std::string build_plans_for(const TensorRt& tensorrt, const PluginsLibrary& plugins,
                            const ModelConfig& config, const PlanOptions& options,
                            const PlanProgress& progress);

}  // namespace tensorrt
}  // namespace kraken
