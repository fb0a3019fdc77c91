// From an engine directory to a LocalExecutor: one graph, one mapped file and one compiled model per rank.
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "model/config.h"
#include "model/graph.h"
#include "runtime/limits.h"
#include "runtime/local_executor.h"

namespace kraken {
namespace {

// What a rank's model is made of.
struct RankSource {
  Graph graph;
  std::string path;
};

size_t file_bytes(const std::string& path) {
  std::error_code ignored;  // opening the file gives the better message
  const auto bytes = std::filesystem::file_size(path, ignored);
  return ignored ? 0 : static_cast<size_t>(bytes);
}

}  // namespace

std::unique_ptr<Executor> make_local_executor(const ExecutorOptions& options, ResponseSink sink,
                                              const std::atomic<bool>* cancelled, QueueObserver observer) {
  const ModelConfig model = parse_model_config(options.model_config);
  const Backend& backend = find_backend(options.backend);
  if (const Capability capability = backend.capability(); !capability.available) {
    throw Error("ERR_BACKEND_UNAVAILABLE",
                std::string("backend ") + backend.name() + " is not available: " + capability.reason);
  }

  ModelSizes sizes;
  sizes.vocab = model.vocab;
  sizes.max_positions = model.max_positions;
  sizes.kv_block_tokens = backend.kv_block_tokens();
  std::vector<std::shared_ptr<RankSource>> sources;
  for (int rank = 0; rank < options.ranks; ++rank) {
    auto source = std::make_shared<RankSource>();
    source->graph = build_graph(model, {rank, options.ranks, options.communication});
    source->path = options.directory + "/rank" + std::to_string(rank) + ".engine";
    sizes.kv_block_bytes += backend.kv_block_bytes(source->graph, options.dtype);
    sizes.weight_bytes += file_bytes(source->path);
    sources.push_back(std::move(source));
  }
  CompileOptions compile;
  compile.ranks_per_device = options.ranks_per_device;
  compile.backend_config = options.backend_config;
  const std::optional<size_t> device_memory = backend.device_memory(options.ranks, compile);
  const LocalExecutorConfig config =
      decide_limits(options, sizes, device_memory ? *device_memory : available_memory());
  compile.max_tokens = config.max_step_tokens;
  compile.max_sequences = config.max_batch_size;
  compile.max_rows = config.max_rows;
  compile.max_context = config.max_sequence_length;
  compile.kv_blocks = config.kv_blocks;
  compile.threads = config.threads_per_rank;
  compile.dtype = options.dtype;
  compile.profile = options.profile;
  compile.cancelled = cancelled;
  std::vector<RankModelFactory> factories;
  for (const auto& source : sources) {
    factories.push_back([&backend, source, compile](Communicator& communicator) {
      return backend.compile(source->graph, source->path, communicator, compile);
    });
  }
  return std::make_unique<LocalExecutor>(config, std::move(factories), std::move(sink), std::move(observer));
}

}  // namespace kraken
