// What a rank's model is made of.
#pragma once

#include <memory>
#include <string>

#include "model/config.h"
#include "model/graph.h"
#include "runtime/limits.h"
#include "runtime/local_executor.h"

namespace kraken {

struct RankSource {
  Graph graph;
  std::string path;
};

std::shared_ptr<RankSource> make_rank_source(const ExecutorOptions& options, const ModelConfig& model,
                                             int rank);

// Throws ERR_BACKEND_UNAVAILABLE.
const Backend& available_backend(const std::string& name);

// Of no rank yet: add_rank() makes them those of some.
ModelSizes sizes_without_ranks(const ModelConfig& model, const Backend& backend);
void add_rank(ModelSizes& sizes, const RankSource& source, const Backend& backend, DType dtype,
              size_t file_bytes);

// Throws ERR_ABORTED soon after `cancelled` becomes true.
RankModelFactory make_rank_factory(const Backend& backend, std::shared_ptr<RankSource> source,
                                   const LocalExecutorConfig& config, const ExecutorOptions& options,
                                   const std::atomic<bool>* cancelled);

}  // namespace kraken
