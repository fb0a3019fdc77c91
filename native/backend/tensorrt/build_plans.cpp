#include "backend/tensorrt/build_plans.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "backend/tensorrt/engine_facts.h"
#include "backend/tensorrt/libraries.h"
#include "backend/tensorrt/rank_file_weights.h"
#include "backend/tensorrt/rank_model.h"
#include "base/error.h"

namespace kraken {
namespace tensorrt {
namespace {

namespace fs = std::filesystem;

void write_file(const fs::path& path, const std::vector<std::byte>& bytes) {
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) throw Error("ERR_IO", "cannot write " + path.string() + ": " + std::strerror(errno));
}

// What TensorRT measured on this kind of GPU, for the next build. Losing it costs minutes and nothing else.
class TimingFile {
 public:
  TimingFile(const std::string& folder, const EngineFacts& facts) {
    if (folder.empty()) return;
    path_ = fs::path(folder) /
            ("tensorrt-" + facts.tensorrt + "-sm" + std::to_string(facts.compute_capability) + ".timings");
    std::ifstream file(path_, std::ios::binary);
    const std::vector<char> found((std::istreambuf_iterator<char>(file)), {});
    const auto* begin = reinterpret_cast<const std::byte*>(found.data());
    timings.assign(begin, begin + found.size());
  }
  void keep() const {
    if (path_.empty() || timings.empty()) return;
    const fs::path temporary = path_.string() + "." + std::to_string(getpid());
    std::error_code ignored;
    fs::create_directories(path_.parent_path(), ignored);
    try {
      write_file(temporary, timings);
      fs::rename(temporary, path_);
    } catch (const std::exception&) {
      fs::remove(temporary, ignored);
    }
  }
  std::vector<std::byte> timings;

 private:
  fs::path path_;
};

void check_same(const DeviceInfo& first, const DeviceInfo& other) {
  if (first.name == other.name && first.compute_capability == other.compute_capability) return;
  throw Error("ERR_BACKEND_UNAVAILABLE",
              "the GPUs differ (" + first.name + " and " + other.name +
                  "): an engine's ranks run on GPUs of one kind; choose them with CUDA_VISIBLE_DEVICES");
}

void check_memory(size_t needed, size_t free, int rank, int device) {
  if (needed <= free) return;
  throw Error("ERR_OUT_OF_MEMORY",
              "building rank " + std::to_string(rank) + " needs at least its weights on GPU " +
                  std::to_string(device) + ": needed are " + std::to_string((needed >> 20) + 1) +
                  " MiB, free are " + std::to_string(free >> 20) + " MiB; build with more ranks");
}

}  // namespace

std::string build_plans_for(const TensorRt& tensorrt, const PluginsLibrary& plugins,
                            const ModelConfig& config, const PlanOptions& options,
                            const PlanProgress& progress) {
  const std::vector<DeviceInfo> devices = tensorrt.devices();
  EngineFacts facts;
  facts.tensorrt = tensorrt.version();
  facts.gpu = devices.front().name;
  facts.compute_capability = devices.front().compute_capability;
  facts.plugins = plugins.kraken_plugins_version();
  facts.block_tokens = kBlockTokens;
  facts.limits = {options.max_tokens, options.max_sequences, options.max_rows, options.max_context};
  check_architecture(plugins, devices.front());

  TimingFile timing_file(options.timings, facts);
  for (int rank = 0; rank < options.ranks; ++rank) {
    // Unlike those that run, ranks that are built may take turns on fewer GPUs.
    const auto device =
        static_cast<int>(static_cast<size_t>(rank / options.ranks_per_device) % devices.size());
    check_same(devices.front(), devices[static_cast<size_t>(device)]);
    const Graph graph = build_graph(config, {rank, options.ranks, options.communication});
    const fs::path stem = fs::path(options.directory) / ("rank" + std::to_string(rank));
    const fs::path weights_path = stem.string() + ".weights";
    Plan plan;
    {
      const RankFile file = RankFile::open(weights_path);
      const RankFileWeights weights(file);
      check_memory(fs::file_size(weights_path), tensorrt.memory(device).free, rank, device);
      PlanRequest request;
      request.graph = &graph;
      request.weights = &weights;
      request.dtype = options.dtype;
      request.limits = facts.limits;
      request.block_tokens = facts.block_tokens;
      request.trtllm_max_input = options.trtllm_max_input;
      request.gathers_context_logits = options.gathers_context_logits;
      request.device = device;
      request.timings = &timing_file.timings;
      request.progress = [&](double done) { return progress((rank + done) / options.ranks); };
      if (!request.progress(0)) throw Error("ERR_ABORTED", "the build was cancelled");
      plan = tensorrt.build(request);
    }
    write_file(stem.string() + ".engine", plan.bytes);
    fs::remove(weights_path);
    facts.plugin_layers.push_back(plan.plugin_layers);
    timing_file.keep();
  }
  progress(1);
  return to_json(facts);
}

}  // namespace tensorrt

std::string build_plans(const PlanOptions& options, const PlanProgress& progress) {
  const tensorrt::Gpu& gpu = tensorrt::gpu(options.trtllm_max_input > 0 ? 10 : 0);
  return tensorrt::build_plans_for(*gpu.tensorrt, gpu.plugins, parse_model_config(options.model_config),
                                   options, progress);
}

}  // namespace kraken
