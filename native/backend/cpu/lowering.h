// Lowers a Graph to CpuModel's steps.
//
// The surprising decision: residual adds and all-reduces are not steps. A residual stream is a *sum that is
// not yet added up* (base + GEMM outputs + exchanges to wait for); the next Norm adds it up, joins, stores
// and normalises in one pass over memory. GEMMs then have plain outputs, which is how oneDNN runs them
// fastest.
#pragma once

#include <vector>

#include "backend/cpu/cpu_model.h"
#include "model/graph.h"

namespace kraken::cpu {

class Lowering {
 public:
  Lowering(CpuModel& model, const Graph& graph, const CompileOptions& options, Attention& attention,
           std::byte* kv_cache, size_t kv_layer_bytes);

  // Appends the steps; the plan says which buffers they need.
  const BufferPlan& lower();

 private:
  // What a tensor of the graph is on the CPU: a dense buffer in the compute dtype, rows quantised for int8
  // products (quantised_rows.h), or a float32 sum; or several of them.
  struct Value {
    BufferId dense = kNone;
    BufferId quantised = kNone;
    BufferId base = kNone;
    std::vector<BufferId> addends;
    std::vector<int> exchanges;
    bool summed() const { return base != kNone && addends.empty() && exchanges.empty(); }
  };

  void lower(const Op& op);
  void lower_embed(const Op& op);
  void lower_norm(const Op& op);
  void lower_linear(const Op& op);
  void lower_attention(const Op& op);
  void lower_all_reduce(const Op& op);
  void lower_start_norm(const Op& op);
  void lower_join_norm(const Op& op);
  void lower_join_add(const Op& op);
  void lower_last_tokens(const Op& op);
  void lower_head(const Op& op);

  // Adds up tensor x (storing the sum where it is needed later), optionally joins exchange `join`, optionally
  // normalises into op's output.
  struct NormTarget {
    const Op* op = nullptr;  // null: only add up
    int join = kNone;        // exchange to join
    BufferId join_self = kNone;
  };
  void emit_norm(TensorId x, bool keep_sum, const NormTarget& target);
  void add_up(TensorId x);
  // What a Linear reads of x: rows in the compute dtype, or quantised ones. They are there already when a
  // norm wrote them; an attention's output is still to be quantised, and a stream that feeds a Linear without
  // a norm between (the conjunction) to be added up and converted.
  BufferId linear_input(TensorId x);
  void make_dense(TensorId x);
  void make_quantised(TensorId x);
  // Bytes of a row of what a Linear reads, of one way and of all.
  size_t input_row_bytes(int width) const;
  size_t input_bytes(TensorId id) const;
  // One packed matrix per way.
  std::vector<PackedLinear*> pack(const Op& op, DType output);
  int start_exchange(TensorId send);  // numbered in starting order
  void emit(std::string kind, std::function<void(const StepContext&)> run);
  void emit_product(std::string kind, Rows rows, std::function<void(const StepContext&)> run);

  const TensorInfo& info(TensorId id) const { return graph_.tensors[static_cast<size_t>(id)]; }
  Value& value(TensorId id) { return values_[static_cast<size_t>(id)]; }
  size_t row_bytes(TensorId id, size_t element) const;
  size_t element() const { return size_of(dtype_); }
  // Drops one use of a tensor; its buffers return to the plan with the last.
  void use(TensorId id);
  bool used_later(TensorId id) const { return uses_[static_cast<size_t>(id)] > 0; }
  Value share(TensorId id);
  void release(Value& value);
  const Op* attention_of(TensorId qkv) const;  // null where no attention reads it
  BufferId sum_target(const Value& value, TensorId id);

  const RankFile::Entry& entry(WeightId id) const;
  const float* vector(WeightId id);  // null for kNone

  CpuModel& model_;
  const Graph& graph_;
  const CompileOptions& options_;
  Attention& attention_;
  std::byte* kv_cache_;
  size_t kv_layer_bytes_;
  DType dtype_;  // compute dtype
  bool int8_;    // Linears multiply quantised rows
  BufferPlan plan_;
  std::vector<Value> values_;
  std::vector<int> uses_;
  std::vector<int> exchange_of_;  // graph exchange → number in starting order
  int started_ = 0;
  const float* cos_ = nullptr;
  const float* sin_ = nullptr;
};

}  // namespace kraken::cpu
