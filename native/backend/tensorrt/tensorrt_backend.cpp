// The TensorRT backend: plans that were built once (build_plans.h) run on one GPU for each rank. Every build
// has it; what it needs is opened when it is used, in kraken-worker and never in Node.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "backend/backend.h"
#include "backend/tensorrt/libraries.h"
#include "backend/tensorrt/rank_model.h"
#include "base/error.h"

namespace kraken {
namespace {

bool captures_graphs() {
  const char* wanted = std::getenv("KRAKEN_CUDA_GRAPHS");
  return wanted == nullptr || std::string(wanted) != "0";
}

// Of "10.15.1"; 0 where it says nothing.
int major_of(const std::string& version) {
  return std::atoi(version.c_str());
}

class TensorRtBackend : public Backend {
 public:
  const char* name() const override { return "tensorrt"; }

  Capability capability() const override {
    const tensorrt::GpuPlaces places = tensorrt::this_build();
    const std::string trouble = tensorrt::gpu_trouble(places);
    if (!trouble.empty()) return {false, trouble, {}};
    return {true, "", {{"builtWith", places.built}}};
  }

  int kv_block_tokens() const override { return tensorrt::kBlockTokens; }

  size_t kv_block_bytes(const Graph& graph, DType dtype) const override {
    return tensorrt::kv_cache_shape(graph, dtype, 1).block_bytes();
  }

  size_t exchange_bytes(const Graph& graph, DType dtype, int64_t max_tokens) const override {
    return tensorrt::exchange_bytes(graph, dtype, max_tokens);
  }

  // As much for each rank as the fullest GPU has.
  std::optional<size_t> device_memory(int ranks, const CompileOptions& options) const override {
    const auto facts = tensorrt::parse_engine_facts(options.backend_config, ranks);
    const tensorrt::TensorRt& tensorrt = *tensorrt::gpu(major_of(facts.tensorrt)).tensorrt;
    const int ranks_per_device = options.ranks_per_device;
    const size_t devices = tensorrt.devices().size();
    const int last = tensorrt::device_of(ranks - 1, ranks, ranks_per_device, devices);
    size_t least = SIZE_MAX;
    for (int device = 0; device <= last; ++device) least = std::min(least, tensorrt.memory(device).free);
    return least / static_cast<size_t>(std::min(ranks, ranks_per_device)) * static_cast<size_t>(ranks);
  }

  std::unique_ptr<RankModel> compile(const Graph& graph, const std::string& engine_file,
                                     Communicator& communicator,
                                     const CompileOptions& options) const override {
    const auto facts = tensorrt::parse_engine_facts(options.backend_config, graph.ranks);
    const tensorrt::Gpu& gpu = tensorrt::gpu(major_of(facts.tensorrt));
    return std::make_unique<tensorrt::TensorRtModel>(*gpu.tensorrt, gpu.plugins, graph, engine_file,
                                                     communicator, options, captures_graphs());
  }
};

}  // namespace

const Backend& tensorrt_backend() {
  static const TensorRtBackend backend;
  return backend;
}

}  // namespace kraken
