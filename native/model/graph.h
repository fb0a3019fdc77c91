// The Graph: one rank's share of a model as a list of ops; docs/architecture.md lists the ops. Every
// architecture builds one, every backend lowers one. T = tokens of a step (packed), W = ways on this rank, B
// = rows whose logits are wanted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "model/config.h"

namespace kraken {

using TensorId = int;
using WeightId = int;
inline constexpr int kNone = -1;

enum class OpKind {
  Embed,  // ids[T], positions[T] → x[W,T,d]                       weight: token table, bias: position table
  Norm,   // x → Norm(x)                                            weight, bias
  Linear,      // x[W,M,k] → [W,M,n]: x·weightᵀ (+ bias), activation, (+ residual)
  Attention,   // qkv[W,T,(h+2·kv)·hd] → [W,T,h·hd], or [W,B,h·hd] when last_tokens
  AllReduce,   // x[W,M,d] → Σ over ways and ranks [M,d] (+ residual); blocking
  StartNorm,   // send[W,M,d], x[W,T,d] → Norm(x); starts exchange e of send
  JoinNorm,    // a[W,M,d], x[W,M,d] → Norm(a + (S_e − x)); waits for exchange e
  JoinAdd,     // x[1,M,d] → x + S_e; waits for exchange e
  LastTokens,  // x[W,T,n] → the B wanted rows [W,B,n]
  LogitsHead,  // x[1,B,d] → logits[B,V]; this rank's vocabulary columns, gathered
};

const char* name_of(OpKind kind);

// Rows of a tensor: every token of the step, or only those whose logits are wanted.
enum class Rows { Tokens, Wanted };

struct TensorInfo {
  std::string name;
  int ways = 1;
  Rows rows = Rows::Tokens;
  int width = 0;
};

struct Op {
  OpKind kind;
  std::string name;  // e.g. "layers.3.attn.qkv"
  int layer = kNone;
  // Embed: none. StartNorm: {send, x}. JoinNorm: {a, x}. All others: {x}.
  std::vector<TensorId> inputs;
  TensorId output = kNone;
  WeightId weight = kNone;
  WeightId bias = kNone;
  TensorId residual = kNone;  // Linear, AllReduce: added to the output
  Activation activation = Activation::None;
  int exchange = kNone;      // StartNorm starts it; JoinNorm and JoinAdd wait for it
  bool last_tokens = false;  // Attention: only the wanted rows of the output
};

// How a weight is stored in the rank's engine file.
enum class WeightRole {
  Matrix,  // [W, n, k], engine dtype: the right-hand side of a Linear (or [V_r, d] of the head)
  Table,   // [rows, d], engine dtype: looked up by index
  Vector,  // [W, n] or [n], float32: norms and biases
};

// A block of the weight, contiguous at element `offset`, cut from a canonical checkpoint tensor
// (lib/checkpoint/checkpoint-index.ts): source[begin[0]:begin[0]+size[0], …], in row-major order.
struct WeightPiece {
  std::string source;
  std::vector<int64_t> begin, size;
  int64_t offset = 0;
};

struct WeightSpec {
  std::string name;
  WeightRole role = WeightRole::Matrix;
  std::vector<int64_t> shape;
  std::vector<WeightPiece> pieces;  // elements no piece covers are zero
};

struct Graph {
  ModelConfig config;
  int rank = 0, ranks = 1;
  int ways = 1;       // W
  int first_way = 0;  // global index of this rank's first way
  // Attention heads of this rank, per way (sharded for everything but Kraken).
  int heads = 0, kv_heads = 0;
  int vocab_begin = 0, vocab_size = 0;  // this rank's slice of the vocabulary
  int exchanges = 0;
  bool communication = true;  // false: collectives left out, wrong numbers, right timing (benchmarks)
  std::vector<TensorInfo> tensors;
  std::vector<WeightSpec> weights;
  std::vector<Op> ops;
  TensorId logits = kNone;
};

struct GraphOptions {
  int rank = 0, ranks = 1;
  bool communication = true;
};

// Throws ERR_RANKS when the model cannot be split over that many ranks (the message says which counts work).
Graph build_graph(const ModelConfig& config, const GraphOptions& options);

// The rank counts up to `limit` that build_graph accepts.
std::vector<int> valid_rank_counts(const ModelConfig& config, int limit);

// One line per op, for debugging and golden tests.
std::string describe(const Graph& graph);

}  // namespace kraken
