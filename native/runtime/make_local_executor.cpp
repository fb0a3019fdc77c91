// From an engine directory to a LocalExecutor: one graph, one mapped file and one compiled model per rank.
#include <filesystem>
#include <optional>

#include "runtime/rank_source.h"

namespace kraken {
namespace {

size_t file_bytes(const std::string& path) {
  std::error_code ignored;  // opening the file gives the better message
  const auto bytes = std::filesystem::file_size(path, ignored);
  return ignored ? 0 : static_cast<size_t>(bytes);
}

}  // namespace

std::unique_ptr<Executor> make_local_executor(const ExecutorOptions& options, ResponseSink sink,
                                              const std::atomic<bool>* cancelled, QueueObserver observer) {
  const ModelConfig model = parse_model_config(options.model_config);
  const Backend& backend = available_backend(options.backend);
  ModelSizes sizes = sizes_without_ranks(model, backend);
  std::vector<std::shared_ptr<RankSource>> sources;
  for (int rank = 0; rank < options.ranks; ++rank) {
    sources.push_back(make_rank_source(options, model, rank));
    add_rank(sizes, *sources.back(), backend, options.dtype, file_bytes(sources.back()->path));
  }
  const std::optional<size_t> device_memory =
      backend.device_memory(options.ranks, device_options(options, std::nullopt));
  const LocalExecutorConfig config =
      decide_limits(options, sizes, device_memory ? *device_memory : available_memory());
  std::vector<RankModelFactory> factories;
  for (const auto& source : sources) {
    factories.push_back(make_rank_factory(backend, source, config, options, cancelled));
  }
  return std::make_unique<LocalExecutor>(config, std::move(factories), std::move(sink), std::move(observer));
}

}  // namespace kraken
