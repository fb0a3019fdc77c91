// Builds Graphs op by op: names, shapes and weights of one rank's share. Used by the files of the
// architectures.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/graph.h"

namespace kraken {

// A contiguous share [begin, begin + size) of a dimension.
struct Share {
  int64_t begin = 0, size = 0;
};

class GraphBuilder {
 public:
  GraphBuilder(const ModelConfig& config, const GraphOptions& options);

  const ModelConfig& config() const { return graph_.config; }
  int layers() const { return graph_.config.layers; }
  int ways() const { return graph_.ways; }
  bool last_layer(int layer) const { return layer == layers() - 1; }

  TensorId embed();
  // Norm `which` ("norm1", "norm2") of a layer.
  TensorId norm(int layer, const char* which, TensorId x);
  // Starts an exchange of `send` and normalises x; returns {Norm(x), exchange}.
  std::pair<TensorId, int> start_norm(int layer, const char* which, TensorId send, TensorId x);
  TensorId join_norm(int layer, const char* which, TensorId a, TensorId x, int exchange);
  TensorId join_add(int layer, const char* which, TensorId x, int exchange);

  // QKV projection, causal attention, output projection (+ residual). In the last layer only the wanted rows
  // leave the attention, and `residual` must have those rows.
  TensorId attention(int layer, TensorId x, TensorId residual);
  // Two (SwiGLU: gated) Linears (+ residual).
  TensorId mlp(int layer, TensorId x, TensorId residual);

  // Σ over ranks, + residual.
  TensorId all_reduce(int layer, const char* name, TensorId x, TensorId residual);
  TensorId last_tokens(TensorId x);
  // Kraken: Σ over ways and ranks of conjunction_way · x_way.
  TensorId conjunction(TensorId x);
  Graph finish(TensorId hidden);

 private:
  TensorId tensor(std::string name, int ways, Rows rows, int width);
  TensorId like(TensorId x, std::string name, int width = 0);
  Op& op(OpKind kind, std::string name, int layer, std::vector<TensorId> inputs, TensorId output);
  WeightId weight(std::string name, WeightRole role, std::vector<int64_t> shape,
                  std::vector<WeightPiece> pieces);
  std::string at(int layer, int way) const;
  void norm_weights(Op& op, const std::string& name, const std::vector<std::string>& sources);
  void norm_weights(Op& op, int layer, const char* which);
  // A Matrix [W, n, k] (or Vector [W, n]) whose way w is the given pieces one after another.
  template <typename PiecesOfWay>
  WeightId per_way(std::string name, WeightRole role, std::vector<int64_t> shape, PiecesOfWay pieces);
  void check_rows(TensorId a, TensorId b) const;

  Graph graph_;
  Share heads_, kv_heads_, ffn_;
};

// One file per architecture.
Graph build_kraken(GraphBuilder& builder);
Graph build_gpt(GraphBuilder& builder);
Graph build_parallel(GraphBuilder& builder);
Graph build_ladder(GraphBuilder& builder);

}  // namespace kraken
