// The TensorRT backend: plans that were built once (build_plans.h) run on one GPU for each rank. Every build
// has it; what it needs is opened when it is used, in kraken-worker and never in Node.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "backend/backend.h"
#include "backend/tensorrt/libraries.h"
#include "backend/tensorrt/rank_model.h"
#include "base/error.h"

namespace kraken {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

tensorrt::RankSettings settings() {
  tensorrt::RankSettings settings;
  settings.capture = variable("KRAKEN_CUDA_GRAPHS") != "0";
  const std::string path = variable("KRAKEN_ALGORITHMS");
  if (path.empty()) return settings;
  std::ifstream file(path);
  settings.algorithms.assign(std::istreambuf_iterator<char>(file), {});
  if (!file || settings.algorithms.empty()) {
    throw Error("ERR_OPTION",
                "KRAKEN_ALGORITHMS names " + path +
                    ", which cannot be read or is empty: `bash test/gpu/run.sh --tune FILE` writes one");
  }
  return settings;
}

// Kernels of ranks wait for each other. CUDA then must not stop to load one when it is first used: that waits
// for what runs on the GPU, and maybe on those that reach its memory, while a kernel there waits for one that
// is launched later. Nor must it queue one rank's behind another's. Read when CUDA starts, so this comes
// first.
void prepare_waiting() {
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
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

  // As much for each rank as the fullest GPU has. Of a rank that is a process, its own GPU's alone: asking
  // starts one, and takes memory of it.
  std::optional<size_t> device_memory(int ranks, const CompileOptions& options) const override {
    const auto facts = tensorrt::parse_engine_facts(options.backend_config, ranks);
    if (ranks > 1) prepare_waiting();
    const tensorrt::TensorRt& tensorrt = *tensorrt::gpu(major_of(facts.tensorrt)).tensorrt;
    const int ranks_per_device = options.ranks_per_device;
    const size_t devices = tensorrt.devices().size();
    if (const std::optional<RankPlace>& place = options.place) {
      const int device =
          tensorrt::device_of(place->rank_on_host, place->ranks_on_host, ranks_per_device, devices);
      const int sharing = std::min(ranks_per_device, place->ranks_on_host - device * ranks_per_device);
      return tensorrt.memory(device).free / static_cast<size_t>(sharing);
    }
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
                                                     communicator, options, settings());
  }
};

}  // namespace

const Backend& tensorrt_backend() {
  static const TensorRtBackend backend;
  return backend;
}

}  // namespace kraken
