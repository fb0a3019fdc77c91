#include "runtime/rank_source.h"

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

RankModelFactory make_rank_factory(const Backend& backend, std::shared_ptr<RankSource> source,
                                   const LocalExecutorConfig& config, const ExecutorOptions& options,
                                   const std::atomic<bool>* cancelled) {
  CompileOptions compile;
  compile.max_tokens = config.max_step_tokens;
  compile.max_sequences = config.max_batch_size;
  compile.max_rows = config.max_rows;
  compile.max_context = config.max_sequence_length;
  compile.kv_blocks = config.kv_blocks;
  compile.threads = config.threads_per_rank;
  compile.dtype = options.dtype;
  compile.profile = options.profile;
  compile.ranks_per_device = options.ranks_per_device;
  compile.backend_config = options.backend_config;
  compile.cancelled = cancelled;
  return [&backend, source = std::move(source), compile](Communicator& communicator) {
    return backend.compile(source->graph, source->path, communicator, compile);
  };
}

}  // namespace kraken
