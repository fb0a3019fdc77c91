// From an engine directory to a LocalExecutor: one graph, one mapped file and one compiled model per rank.
#include <filesystem>

#include "base/error.h"
#include "model/config.h"
#include "model/graph.h"
#include "runtime/limits.h"
#include "runtime/local_executor.h"
#include "weights/rank_file.h"

namespace kraken {
namespace {

// What a rank's model is made of. Its file stays mapped as long as the model lives.
struct RankSource {
  Graph graph;
  std::string path;
  std::unique_ptr<RankFile> file;
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
  const LocalExecutorConfig config = decide_limits(options, sizes, available_memory());

  CompileOptions compile;
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
      source->file = std::make_unique<RankFile>(RankFile::open(source->path));
      return backend.compile(source->graph, *source->file, communicator, compile);
    });
  }
  return std::make_unique<LocalExecutor>(config, std::move(factories), std::move(sink), std::move(observer));
}

}  // namespace kraken
