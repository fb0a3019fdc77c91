// What a rank's model is made of.
#pragma once

#include <memory>
#include <optional>
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

// Where a rank of an engine on several hosts is.
RankPlace place_of(const ExecutorOptions& options, int rank);

// What a backend must know to tell the memory of its devices.
CompileOptions device_options(const ExecutorOptions& options, std::optional<RankPlace> place);

// Bytes that a rank of an engine on several hosts may still allocate, where this is called: its share of its
// device's memory or its host's.
size_t room_of(const ExecutorOptions& options, const Backend& backend, int rank);

// Throws ERR_ABORTED soon after `cancelled` becomes true.
RankModelFactory make_rank_factory(const Backend& backend, std::shared_ptr<RankSource> source,
                                   const LocalExecutorConfig& config, const ExecutorOptions& options,
                                   const std::atomic<bool>* cancelled);

}  // namespace kraken
