// Heads of a size that TensorRT-LLM's attention kernels take. The Graph with wider heads, and its weights:
// zeros in what is added to queries, keys and values, and in the columns that read what attention makes of
// them, so that no result changes; the scale of attention stays that of the true size (q_scaling).
#pragma once

#include <list>
#include <string>
#include <vector>

#include "backend/tensorrt/weight_reader.h"
#include "model/graph.h"

namespace kraken::trtllm {

// Of the sizes that its kernels for prompts and for single tokens both have. Throws ERR_OPTION beyond the
// largest.
int padded_head_dim(int head_dim);

// The same network with heads of `head_dim`, which is at least the Graph's.
Graph pad_heads(const Graph& graph, int head_dim);

// Weights of `graph` for pad_heads(graph, …): those whose shape has changed are copied, the rest passed on.
class PaddedWeights final : public tensorrt::WeightReader {
 public:
  PaddedWeights(const Graph& graph, const Graph& padded, const tensorrt::WeightReader& reader);
  Stored read(const WeightSpec& weight) const override;

 private:
  const Graph& graph_;
  const Graph& padded_;
  const tensorrt::WeightReader& reader_;
  mutable std::list<std::vector<std::byte>> kept_;
};

}  // namespace kraken::trtllm
