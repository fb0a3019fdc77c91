#include "model/graph_builder.h"

#include <numeric>

#include "base/error.h"

namespace kraken {
namespace {

// Share of `rank` when `total` is split over `ranks` as evenly as possible.
Share share(int64_t total, int rank, int ranks) {
  const int64_t begin = total * rank / ranks;
  return {begin, total * (rank + 1) / ranks - begin};
}

// Key/value heads of a rank: split when there are enough, otherwise each head is kept by several ranks.
Share kv_share(int kv_heads, int rank, int ranks) {
  if (kv_heads >= ranks) return share(kv_heads, rank, ranks);
  return {int64_t{rank} * kv_heads / ranks, 1};
}

int64_t product(const std::vector<int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

WeightPiece whole(std::string source, std::vector<int64_t> shape) {
  std::vector<int64_t> begin(shape.size(), 0);
  return {std::move(source), std::move(begin), std::move(shape), 0};
}

}  // namespace

GraphBuilder::GraphBuilder(const ModelConfig& config, const GraphOptions& options) {
  const bool kraken = config.architecture == Architecture::Kraken;
  graph_.config = config;
  graph_.rank = options.rank;
  graph_.ranks = options.ranks;
  graph_.communication = options.communication;
  graph_.ways = kraken ? config.ways / options.ranks : 1;
  graph_.first_way = kraken ? options.rank * graph_.ways : 0;
  // A Kraken way is whole on its rank; everything else splits heads and MLP columns over the ranks.
  const int rank = kraken ? 0 : options.rank;
  const int ranks = kraken ? 1 : options.ranks;
  heads_ = share(config.heads, rank, ranks);
  kv_heads_ = kv_share(config.kv_heads, rank, ranks);
  ffn_ = share(config.ffn, rank, ranks);
  graph_.heads = static_cast<int>(heads_.size);
  graph_.kv_heads = static_cast<int>(kv_heads_.size);
  const Share vocab = share(config.vocab, options.rank, options.ranks);
  graph_.vocab_begin = static_cast<int>(vocab.begin);
  graph_.vocab_size = static_cast<int>(vocab.size);
}

TensorId GraphBuilder::tensor(std::string name, int ways, Rows rows, int width) {
  graph_.tensors.push_back({std::move(name), ways, rows, width});
  return static_cast<TensorId>(graph_.tensors.size()) - 1;
}

TensorId GraphBuilder::like(TensorId x, std::string name, int width) {
  const TensorInfo info = graph_.tensors[x];
  return tensor(std::move(name), info.ways, info.rows, width > 0 ? width : info.width);
}

Op& GraphBuilder::op(OpKind kind, std::string name, int layer, std::vector<TensorId> inputs,
                     TensorId output) {
  Op op{};
  op.kind = kind;
  op.name = std::move(name);
  op.layer = layer;
  op.inputs = std::move(inputs);
  op.output = output;
  graph_.ops.push_back(std::move(op));
  return graph_.ops.back();
}

WeightId GraphBuilder::weight(std::string name, WeightRole role, std::vector<int64_t> shape,
                              std::vector<WeightPiece> pieces) {
  graph_.weights.push_back({std::move(name), role, std::move(shape), std::move(pieces)});
  return static_cast<WeightId>(graph_.weights.size()) - 1;
}

template <typename PiecesOfWay>
WeightId GraphBuilder::per_way(std::string name, WeightRole role, std::vector<int64_t> shape,
                               PiecesOfWay pieces_of) {
  const int64_t per_way = product(shape) / shape[0];
  std::vector<WeightPiece> all;
  for (int way = 0; way < ways(); ++way) {
    int64_t offset = way * per_way;
    for (WeightPiece& piece : pieces_of(way)) {
      piece.offset = offset;
      offset += product(piece.size);
      all.push_back(std::move(piece));
    }
  }
  return weight(std::move(name), role, std::move(shape), std::move(all));
}

std::string GraphBuilder::at(int layer, int way) const {
  return "layers." + std::to_string(layer) + ".ways." + std::to_string(graph_.first_way + way) + ".";
}

void GraphBuilder::check_rows(TensorId a, TensorId b) const {
  KRAKEN_CHECK(graph_.tensors[a].rows == graph_.tensors[b].rows);
  KRAKEN_CHECK(graph_.tensors[a].width == graph_.tensors[b].width);
}

TensorId GraphBuilder::embed() {
  const int64_t d = config().width;
  const TensorId x = tensor("embed", ways(), Rows::Tokens, config().width);
  const WeightId table = weight("embed.tokens", WeightRole::Table, {config().vocab, d},
                                {whole("embed.tokens", {config().vocab, d})});
  WeightId positions = kNone;
  if (config().learned_positions) {
    positions = weight("embed.positions", WeightRole::Table, {config().max_positions, d},
                       {whole("embed.positions", {config().max_positions, d})});
  }
  Op& embed = op(OpKind::Embed, "embed", kNone, {}, x);
  embed.weight = table;
  embed.bias = positions;
  return x;
}

void GraphBuilder::norm_weights(Op& norm, const std::string& name, const std::vector<std::string>& sources) {
  const auto ways = static_cast<int64_t>(sources.size());
  const int64_t d = config().width;
  const auto vector = [&](const char* part) {
    std::vector<WeightPiece> pieces;
    for (int64_t way = 0; way < ways; ++way) {
      pieces.push_back(whole(sources[static_cast<size_t>(way)] + part, {d}));
      pieces.back().offset = way * d;
    }
    return weight(name + part, WeightRole::Vector, {ways, d}, std::move(pieces));
  };
  norm.weight = vector(".weight");
  if (config().norm.bias) norm.bias = vector(".bias");
}

void GraphBuilder::norm_weights(Op& norm, int layer, const char* which) {
  std::vector<std::string> sources;
  for (int way = 0; way < ways(); ++way) sources.push_back(at(layer, way) + which);
  norm_weights(norm, "layers." + std::to_string(layer) + "." + which, sources);
}

namespace {
std::string layer_name(int layer, const char* what) {
  return "layers." + std::to_string(layer) + "." + what;
}
}  // namespace

TensorId GraphBuilder::norm(int layer, const char* which, TensorId x) {
  const std::string name = layer_name(layer, which);
  const TensorId out = like(x, name);
  norm_weights(op(OpKind::Norm, name, layer, {x}, out), layer, which);
  return out;
}

std::pair<TensorId, int> GraphBuilder::start_norm(int layer, const char* which, TensorId send, TensorId x) {
  const std::string name = layer_name(layer, which);
  const TensorId out = like(x, name);
  Op& start = op(OpKind::StartNorm, name, layer, {send, x}, out);
  start.exchange = graph_.exchanges++;
  const int exchange = start.exchange;
  norm_weights(start, layer, which);
  return {out, exchange};
}

TensorId GraphBuilder::join_norm(int layer, const char* which, TensorId a, TensorId x, int exchange) {
  check_rows(a, x);
  const std::string name = layer_name(layer, which);
  const TensorId out = like(a, name);
  Op& join = op(OpKind::JoinNorm, name, layer, {a, x}, out);
  join.exchange = exchange;
  norm_weights(join, layer, which);
  return out;
}

TensorId GraphBuilder::join_add(int layer, const char* which, TensorId x, int exchange) {
  const std::string name = layer_name(layer, which);
  const TensorId out = like(x, name);
  op(OpKind::JoinAdd, name, layer, {x}, out).exchange = exchange;
  return out;
}

TensorId GraphBuilder::attention(int layer, TensorId x, TensorId residual) {
  const int64_t w = ways(), d = config().width, hd = config().head_dim;
  const int64_t rows = (heads_.size + 2 * kv_heads_.size) * hd;
  const TensorId qkv = like(x, layer_name(layer, "attn.qkv"), static_cast<int>(rows));
  Op& in = op(OpKind::Linear, layer_name(layer, "attn.qkv"), layer, {x}, qkv);
  const auto qkv_pieces = [&](const char* part, std::vector<int64_t> rest) {
    return [this, layer, part, rest, hd](int way) {
      std::vector<WeightPiece> pieces;
      for (const auto& [name, heads] : {std::pair{"q", heads_}, {"k", kv_heads_}, {"v", kv_heads_}}) {
        std::vector<int64_t> begin{heads.begin, 0}, size{heads.size, hd};
        begin.resize(2 + rest.size(), 0);
        size.insert(size.end(), rest.begin(), rest.end());
        pieces.push_back({at(layer, way) + "attn." + name + part, std::move(begin), std::move(size), 0});
      }
      return pieces;
    };
  };
  in.weight = per_way(layer_name(layer, "attn.qkv.weight"), WeightRole::Matrix, {w, rows, d},
                      qkv_pieces(".weight", {d}));
  if (config().bias.qkv) {
    in.bias =
        per_way(layer_name(layer, "attn.qkv.bias"), WeightRole::Vector, {w, rows}, qkv_pieces(".bias", {}));
  }

  const auto width = static_cast<int>(heads_.size * hd);
  const Rows out_rows = last_layer(layer) ? Rows::Wanted : Rows::Tokens;
  const TensorId heads = tensor(layer_name(layer, "attn"), ways(), out_rows, width);
  op(OpKind::Attention, layer_name(layer, "attn"), layer, {qkv}, heads).last_tokens = last_layer(layer);

  const TensorId out = like(heads, layer_name(layer, "attn.proj"), config().width);
  Op& proj = op(OpKind::Linear, layer_name(layer, "attn.proj"), layer, {heads}, out);
  if (residual != kNone) check_rows(residual, out);
  proj.residual = residual;
  proj.weight =
      per_way(layer_name(layer, "attn.proj.weight"), WeightRole::Matrix, {w, d, width}, [&](int way) {
        return std::vector<WeightPiece>{
            {at(layer, way) + "attn.proj.weight", {0, heads_.begin, 0}, {d, heads_.size, hd}, 0}};
      });
  // The sum over ranks must hold the bias once.
  const bool bias_here = graph_.rank == 0 || config().architecture == Architecture::Kraken;
  if (config().bias.attn_proj && bias_here) {
    proj.bias = per_way(layer_name(layer, "attn.proj.bias"), WeightRole::Vector, {w, d}, [&](int way) {
      return std::vector<WeightPiece>{whole(at(layer, way) + "attn.proj.bias", {d})};
    });
  }
  return out;
}

TensorId GraphBuilder::mlp(int layer, TensorId x, TensorId residual) {
  const int64_t w = ways(), d = config().width, f = ffn_.size;
  const bool gated = config().activation == Activation::SwiGlu;
  const int64_t rows = gated ? 2 * f : f;  // gate first, then up
  const TensorId hidden = like(x, layer_name(layer, "mlp.up"), static_cast<int>(f));
  Op& up = op(OpKind::Linear, layer_name(layer, "mlp.up"), layer, {x}, hidden);
  up.activation = config().activation;
  const auto up_pieces = [&](const char* part, bool matrix) {
    return [this, layer, part, matrix, gated, d](int way) {
      std::vector<WeightPiece> pieces;
      for (const char* name : {"gate", "up"}) {
        if (!gated && name[0] == 'g') continue;
        WeightPiece piece{at(layer, way) + "mlp." + name + part, {ffn_.begin}, {ffn_.size}, 0};
        if (matrix) {
          piece.begin.push_back(0);
          piece.size.push_back(d);
        }
        pieces.push_back(std::move(piece));
      }
      return pieces;
    };
  };
  up.weight = per_way(layer_name(layer, "mlp.up.weight"), WeightRole::Matrix, {w, rows, d},
                      up_pieces(".weight", true));
  if (config().bias.mlp) {
    up.bias =
        per_way(layer_name(layer, "mlp.up.bias"), WeightRole::Vector, {w, rows}, up_pieces(".bias", false));
  }

  const TensorId out = like(hidden, layer_name(layer, "mlp.down"), config().width);
  Op& down = op(OpKind::Linear, layer_name(layer, "mlp.down"), layer, {hidden}, out);
  if (residual != kNone) check_rows(residual, out);
  down.residual = residual;
  down.weight = per_way(layer_name(layer, "mlp.down.weight"), WeightRole::Matrix, {w, d, f}, [&](int way) {
    return std::vector<WeightPiece>{{at(layer, way) + "mlp.down.weight", {0, ffn_.begin}, {d, f}, 0}};
  });
  const bool bias_here = graph_.rank == 0 || config().architecture == Architecture::Kraken;
  if (config().bias.mlp && bias_here) {
    down.bias = per_way(layer_name(layer, "mlp.down.bias"), WeightRole::Vector, {w, d}, [&](int way) {
      return std::vector<WeightPiece>{whole(at(layer, way) + "mlp.down.bias", {d})};
    });
  }
  return out;
}

TensorId GraphBuilder::all_reduce(int layer, const char* name, TensorId x, TensorId residual) {
  const std::string full = layer == kNone ? name : layer_name(layer, name);
  const TensorInfo info = graph_.tensors[x];
  const TensorId out = tensor(full, 1, info.rows, info.width);
  op(OpKind::AllReduce, full, layer, {x}, out).residual = residual;
  return out;
}

TensorId GraphBuilder::last_tokens(TensorId x) {
  const TensorInfo info = graph_.tensors[x];
  if (info.rows == Rows::Wanted) return x;
  const TensorId out = tensor(info.name + ".wanted", info.ways, Rows::Wanted, info.width);
  op(OpKind::LastTokens, info.name + ".wanted", kNone, {x}, out);
  return out;
}

TensorId GraphBuilder::conjunction(TensorId x) {
  const int64_t w = ways(), d = config().width;
  const TensorId part = like(x, "conjunction");
  Op& linear = op(OpKind::Linear, "conjunction", kNone, {x}, part);
  linear.weight = per_way("conjunction.weight", WeightRole::Matrix, {w, d, d}, [&](int way) {
    return std::vector<WeightPiece>{{"conjunction.weight", {0, graph_.first_way + way, 0}, {d, 1, d}, 0}};
  });
  if (config().bias.conjunction &&
      graph_.rank == 0) {  // once in the sum: the first way has it, others are zero
    linear.bias = weight("conjunction.bias", WeightRole::Vector, {w, d}, {whole("conjunction.bias", {d})});
  }
  return all_reduce(kNone, "conjunction.sum", part, kNone);
}

Graph GraphBuilder::finish(TensorId hidden) {
  const TensorInfo info = graph_.tensors[hidden];
  KRAKEN_CHECK(info.rows == Rows::Wanted && info.ways == 1);
  const int64_t d = config().width, begin = graph_.vocab_begin, size = graph_.vocab_size;
  const TensorId normed = like(hidden, "final_norm");
  norm_weights(op(OpKind::Norm, "final_norm", kNone, {hidden}, normed), "final_norm", {"final_norm"});
  graph_.logits = tensor("logits", 1, Rows::Wanted, config().vocab);
  Op& head = op(OpKind::LogitsHead, "head", kNone, {normed}, graph_.logits);
  head.weight =
      weight("head.weight", WeightRole::Matrix, {1, size, d}, {{"head.weight", {begin, 0}, {size, d}, 0}});
  if (config().bias.head) {
    head.bias = weight("head.bias", WeightRole::Vector, {1, size}, {{"head.bias", {begin}, {size}, 0}});
  }
  return std::move(graph_);
}

}  // namespace kraken
