// Builds one rank's plan: the Graph lowered to a network, then TensorRT's own search for kernels.
#include <cuda_runtime_api.h>

#include <atomic>
#include <mutex>

#include "backend/tensorrt/cuda_check.h"
#include "backend/tensorrt/lowering.h"
#include "backend/tensorrt/progress.h"
#include "backend/tensorrt/trt_functions.h"
#include "backend/trtllm/network/trtllm_parts.h"

namespace kraken::tensorrt {
namespace {

class Monitor : public nvinfer1::IProgressMonitor {
 public:
  explicit Monitor(const std::function<bool(double)>& report) : report_(report) {}

  void phaseStart(const char* phase, const char* parent, int32_t steps) noexcept override {
    guarded([&] { phases_.start(phase, parent == nullptr ? "" : parent, steps); });
  }
  bool stepComplete(const char* phase, int32_t step) noexcept override {
    guarded([&] { phases_.step(phase, step); });
    return !cancelled_;
  }
  void phaseFinish(const char* phase) noexcept override {
    guarded([&] { phases_.finish(phase); });
  }
  bool cancelled() const { return cancelled_; }

 private:
  // From any of TensorRT's threads.
  template <typename Change>
  void guarded(Change change) noexcept {
    try {
      const std::lock_guard lock(mutex_);
      change();
      if (report_ && !report_(phases_.done())) cancelled_ = true;
    } catch (...) {  // nobody can be told
      cancelled_ = true;
    }
  }

  const std::function<bool(double)>& report_;
  std::mutex mutex_;
  BuildPhases phases_;
  std::atomic<bool> cancelled_{false};
};

std::vector<std::byte> bytes_of(const nvinfer1::IHostMemory& memory) {
  const auto* begin = static_cast<const std::byte*>(memory.data());
  return {begin, begin + memory.size()};
}

// A cache of another GPU or version is refused by TensorRT, and a fresh one begun.
void use_timings(nvinfer1::IBuilderConfig& config, std::unique_ptr<nvinfer1::ITimingCache>& cache,
                 const std::vector<std::byte>& timings, TrtLog& log) {
  cache.reset(config.createTimingCache(timings.data(), timings.size()));
  if (!cache || !config.setTimingCache(*cache, false)) {
    log.take();
    cache.reset(config.createTimingCache(nullptr, 0));
    if (cache) config.setTimingCache(*cache, false);
  }
}

}  // namespace

Plan build_plan(const TrtFunctions& functions, const PlanRequest& request) {
  check_cuda(cudaSetDevice(request.device), "choosing GPU " + std::to_string(request.device));
  TrtLog& log = *functions.log;
  log.take();
  std::unique_ptr<nvinfer1::IBuilder> builder(
      static_cast<nvinfer1::IBuilder*>(functions.create_builder(&log, NV_TENSORRT_VERSION)));
  if (!builder) log.fail("ERR_BACKEND_FAILED", "TensorRT makes no builder");
  std::unique_ptr<nvinfer1::INetworkDefinition> network(create_network(*builder));
  std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
  if (!network || !config) log.fail("ERR_BACKEND_FAILED", "TensorRT makes no network");

  const LoweringOptions options = {
      request.dtype,           request.limits.max_tokens,  request.limits.max_sequences,
      request.limits.max_rows, request.limits.max_context, request.block_tokens};
  WeightStore weights(*request.weights);
  trtllm::TrtLlmParts parts;
  try {
    if (request.trtllm_max_input > 0) {
      weights = parts.lower(request, options, *builder, log, *network, *config);
    } else {
      weights = lower(*request.graph, *request.weights, options, *network);
      configure(*builder, options, *config);
    }
  } catch (const Error& error) {
    const std::string said = log.take();
    throw Error(error.code(), error.what() + (said.empty() ? "" : "; TensorRT says: " + said));
  }
  std::unique_ptr<nvinfer1::ITimingCache> cache;
  if (request.timings != nullptr) use_timings(*config, cache, *request.timings, log);
  Monitor monitor(request.progress);
  config->setProgressMonitor(&monitor);

  std::unique_ptr<nvinfer1::IHostMemory> built(builder->buildSerializedNetwork(*network, *config));
  if (monitor.cancelled()) throw Error("ERR_ABORTED", "the build was cancelled");
  if (!built) {
    log.fail("ERR_BACKEND_FAILED",
             "TensorRT cannot build the plan of rank " + std::to_string(request.graph->rank));
  }
  if (cache && request.timings != nullptr) {
    const std::unique_ptr<nvinfer1::IHostMemory> learned(cache->serialize());
    if (learned) *request.timings = bytes_of(*learned);
  }
  Plan plan;
  plan.bytes = bytes_of(*built);
  for (int32_t i = 0; i < network->getNbLayers(); ++i) {
    if (network->getLayer(i)->getType() == nvinfer1::LayerType::kPLUGIN_V3) ++plan.plugin_layers;
  }
  return plan;
}

}  // namespace kraken::tensorrt
