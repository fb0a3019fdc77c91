// One rank's compiled model on the CPU: a list of steps over planned buffers, packed weights and a paged KV
// cache.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/attention.h"
#include "backend/cpu/buffer_plan.h"
#include "backend/cpu/gemm.h"
#include "weights/rank_file.h"

namespace kraken::cpu {

// What a step of the model runs with.
struct StepContext {
  const StepBatch& batch;
  float* logits;
  int64_t tokens() const { return static_cast<int64_t>(batch.tokens.size()); }
  int64_t wanted() const { return static_cast<int64_t>(batch.wanted_rows.size()); }
  int64_t rows(Rows rows) const { return rows == Rows::Tokens ? tokens() : wanted(); }
};

struct CpuStep {
  std::string kind;  // what profiles group by
  std::function<void(const StepContext&)> run;
  bool product = false;      // a matrix product
  bool wanted_only = false;  // of the wanted rows, wholly or in part, not of all tokens
};

// Memory that is zero and costs nothing until touched; page-aligned.
class LazyMemory {
 public:
  explicit LazyMemory(size_t bytes);  // throws ERR_OUT_OF_MEMORY
  ~LazyMemory();
  LazyMemory(LazyMemory&& other) noexcept;
  LazyMemory(const LazyMemory&) = delete;
  LazyMemory& operator=(const LazyMemory&) = delete;
  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

class CpuModel : public RankModel {
 public:
  CpuModel(const Graph& graph, const RankFile& weights, Communicator& communicator,
           const CompileOptions& options);
  ~CpuModel() override;

  void step(const StepBatch& batch, float* logits) override;
  void run_products(int tokens, float* logits) override;
  void read_weights() override;
  RankMemory memory() const override;
  std::map<std::string, double> take_profile() override;

  // For the lowering (lowering.cpp), which fills the members below.
  std::byte* buffer(BufferId id) const { return buffers_[static_cast<size_t>(id)].data(); }

  const RankFile weights;  // the token table is read from here row by row
  Communicator& communicator;
  std::vector<std::unique_ptr<PackedLinear>> linears;
  std::vector<std::vector<float>> vectors;     // norms, biases, rotary tables
  std::vector<std::vector<std::byte>> tables;  // of positions, as stored
  std::vector<Ticket> tickets;                 // by exchange, in starting order
  std::vector<Exchanged> exchanged;            // what wait() gave
  std::vector<CpuStep> steps;

 private:
  void warm_up(const CompileOptions& options, int vocab);

  bool profile_;
  size_t kv_bytes_ = 0;
  std::vector<LazyMemory> buffers_;
  std::unique_ptr<LazyMemory> kv_cache_;
  std::unique_ptr<Attention> attention_;
  std::map<std::string, double> times_;
  volatile uint64_t weights_read_ = 0;  // keeps the compiler from leaving the reads out
};

}  // namespace kraken::cpu
