// Builds plans in a kraken-worker: TensorRT may end its process, and takes the GPU's memory with it until it
// does.
#pragma once

#include <string>

#include "backend/tensorrt/plan_options.h"
#include "worker/worker_process.h"

namespace kraken {

// build_plans() in a worker of its own, on the calling thread, which also asks `progress` every now and then
// while nothing is reported. Throws what that throws; ERR_BACKEND_FAILED when the worker ended meanwhile,
// ERR_NATIVE_LOAD when there is none of this build; ERR_ABORTED within a second after `progress` said so.
std::string build_plans_in_worker(const PlanOptions& options, const WorkerLaunch& launch,
                                  const PlanProgress& progress);

}  // namespace kraken
