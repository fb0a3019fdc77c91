#include "runtime/rank_source.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace kraken {

std::shared_ptr<RankSource> make_rank_source(const ExecutorOptions& options, const ModelConfig& model,
                                             int rank) {
  auto source = std::make_shared<RankSource>();
  source->graph = build_graph(model, {rank, options.ranks, options.communication});
  source->path = options.directory + "/rank" + std::to_string(rank) + ".engine";
  return source;
}

const Backend& available_backend(const std::string& name) {
  const Backend& backend = find_backend(name);
  if (const Capability capability = backend.capability(); !capability.available) {
    throw Error("ERR_BACKEND_UNAVAILABLE",
                std::string("backend ") + backend.name() + " is not available: " + capability.reason);
  }
  return backend;
}

ModelSizes sizes_without_ranks(const ModelConfig& model, const Backend& backend) {
  ModelSizes sizes;
  sizes.vocab = model.vocab;
  sizes.max_positions = model.max_positions;
  sizes.kv_block_tokens = backend.kv_block_tokens();
  return sizes;
}

void add_rank(ModelSizes& sizes, const RankSource& source, const Backend& backend, DType dtype,
              size_t file_bytes) {
  sizes.kv_block_bytes += backend.kv_block_bytes(source.graph, dtype);
  sizes.weight_bytes += loaded_weight_bytes(backend, dtype, file_bytes);
}

RankPlace place_of(const ExecutorOptions& options, int rank) {
  const std::vector<std::string>& hosts = options.hosts;
  const auto own = hosts.begin() + rank;
  RankPlace place;
  place.rank_on_host = static_cast<int>(std::count(hosts.begin(), own, *own));
  place.ranks_on_host = static_cast<int>(std::count(hosts.begin(), hosts.end(), *own));
  place.host = static_cast<int>(std::find(hosts.begin(), hosts.end(), *own) - hosts.begin());
  return place;
}

CompileOptions device_options(const ExecutorOptions& options, std::optional<RankPlace> place) {
  CompileOptions compile;
  compile.ranks_per_device = options.ranks_per_device;
  compile.backend_config = options.backend_config;
  compile.place = place;
  return compile;
}

size_t room_of(const ExecutorOptions& options, const Backend& backend, int rank) {
  const RankPlace place = place_of(options, rank);
  const std::optional<size_t> device = backend.device_memory(options.ranks, device_options(options, place));
  return device ? *device : available_memory() / static_cast<size_t>(place.ranks_on_host);
}

RankModelFactory make_rank_factory(const Backend& backend, std::shared_ptr<RankSource> source,
                                   const LocalExecutorConfig& config, const ExecutorOptions& options,
                                   const std::atomic<bool>* cancelled) {
  std::optional<RankPlace> place;
  if (!options.hosts.empty()) place = place_of(options, source->graph.rank);
  CompileOptions compile = device_options(options, place);
  compile.max_tokens = config.max_step_tokens;
  compile.max_sequences = config.max_batch_size;
  compile.max_rows = config.max_rows;
  compile.max_context = config.max_sequence_length;
  compile.kv_blocks = config.kv_blocks;
  compile.threads = config.threads_per_rank;
  compile.dtype = options.dtype;
  compile.profile = options.profile;
  compile.cancelled = cancelled;
  return [&backend, source = std::move(source), compile](Communicator& communicator) {
    return backend.compile(source->graph, source->path, communicator, compile);
  };
}

}  // namespace kraken
