#include "backend/cpu/cpu_model.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "backend/cpu/kernels.h"
#include "backend/cpu/lowering.h"
#include "base/error.h"

namespace kraken::cpu {

LazyMemory::LazyMemory(size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  void* address =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    throw Error("ERR_OUT_OF_MEMORY", "cannot reserve " + std::to_string(bytes >> 20) +
                                         " MiB: lower maxBatchSize, maxSequenceLength or kvCacheTokens");
  }
  data_ = static_cast<std::byte*>(address);
}

LazyMemory::~LazyMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

LazyMemory::LazyMemory(LazyMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

namespace {

constexpr int kWarmUpTokens = 16;  // enough for every kernel to run its full tiles

AttentionShape attention_shape(const Graph& graph, DType dtype) {
  return {graph.ways, graph.heads, graph.kv_heads, graph.config.head_dim, compute_dtype(dtype)};
}

}  // namespace

CpuModel::CpuModel(const Graph& graph, const RankFile& rank_file, Communicator& comm,
                   const CompileOptions& options)
    : weights(rank_file), communicator(comm), profile_(options.profile) {
  const AttentionShape shape = attention_shape(graph, options.dtype);
  const size_t layer_bytes = shape.block_bytes() * static_cast<size_t>(options.kv_blocks);
  kv_bytes_ = layer_bytes * static_cast<size_t>(graph.config.layers);
  kv_cache_ = std::make_unique<LazyMemory>(kv_bytes_);
  attention_ = std::make_unique<Attention>(shape, options.max_tokens, options.max_context, options.threads);
  Lowering lowering(*this, graph, options, *attention_, kv_cache_->data(), layer_bytes);
  for (const BufferPlan::Buffer& buffer : lowering.lower().buffers()) {
    const int rows = buffer.rows == Rows::Tokens ? options.max_tokens : options.max_rows;
    buffers_.emplace_back(buffer.row_bytes * static_cast<size_t>(rows));
  }
  warm_up(options, graph.config.vocab);
}

CpuModel::~CpuModel() = default;

// The first steps of a process create primitives and touch memory for the first time, which costs up to 40
// ms: done here, where all ranks are compiled side by side, and not on a user's clock.
void CpuModel::warm_up(const CompileOptions& options, int vocab) {
  for (const int wished : {kWarmUpTokens, 1}) {
    const int tokens =
        std::min({wished, options.max_tokens, options.max_context, options.kv_blocks * kBlockTokens});
    if (tokens < 1) return;
    const std::vector<int32_t> ids(static_cast<size_t>(tokens), 0);
    std::vector<int32_t> positions(ids.size());
    std::iota(positions.begin(), positions.end(), 0);
    std::vector<int32_t> blocks(static_cast<size_t>((tokens + kBlockTokens - 1) / kBlockTokens));
    std::iota(blocks.begin(), blocks.end(), 0);
    const StepBatch::Sequence sequence{0, tokens, 0, blocks};
    const int32_t last = tokens - 1;
    std::vector<float> logits(static_cast<size_t>(vocab));
    step({ids, positions, {&sequence, 1}, {&last, 1}}, logits.data());
  }
  times_.clear();
}

void CpuModel::step(const StepBatch& batch, float* logits) {
  const StepContext context{batch, logits};
  if (!profile_) {
    for (const CpuStep& step : steps) step.run(context);
    return;
  }
  using Now = std::chrono::steady_clock;
  auto begin = Now::now();
  uint64_t waited = communicator.exposed_nanoseconds();
  for (const CpuStep& step : steps) {
    step.run(context);
    const auto end = Now::now();
    const uint64_t waited_now = communicator.exposed_nanoseconds();
    const double waited_ms = static_cast<double>(waited_now - waited) * 1e-6;
    times_[step.kind] += std::chrono::duration<double, std::milli>(end - begin).count() - waited_ms;
    if (waited_now != waited) times_["wait"] += waited_ms;
    waited = waited_now;
    begin = end;
  }
}

// In the last layer only the wanted rows go through the products after attention. The bound is that of the
// model, not of this shortcut: there the same product of the layer before runs a second time, on all tokens.
void CpuModel::run_products(int tokens, float* logits) {
  const std::vector<int32_t> ids(static_cast<size_t>(tokens), 0);
  const int32_t last = tokens - 1;
  const StepBatch batch{ids, ids, {}, {&last, 1}};
  const StepContext context{batch, logits};
  std::map<std::string, const CpuStep*> on_all_tokens;
  for (const CpuStep& step : steps) {
    if (!step.product) continue;
    if (!step.wanted_only) on_all_tokens[step.kind] = &step;
    const auto full = on_all_tokens.find(step.kind);
    (full == on_all_tokens.end() ? step : *full->second).run(context);
  }
}

void CpuModel::read_weights() {
  uint64_t folded = 0;
  for (const auto& linear : linears) {
    const auto packed = linear->packed();
    folded ^= fold_words(reinterpret_cast<const uint64_t*>(packed.data()),
                         static_cast<int64_t>(packed.size() / sizeof(uint64_t)));
  }
  weights_read_ = folded;
}

RankMemory CpuModel::memory() const {
  RankMemory memory;
  for (const auto& linear : linears) memory.weights += linear->packed().size();
  for (const auto& vector : vectors) memory.weights += vector.size() * sizeof(float);
  for (const auto& table : tables) memory.weights += table.size();
  memory.kv_cache = kv_bytes_;
  for (const LazyMemory& buffer : buffers_) memory.activations += buffer.size();
  return memory;
}

std::map<std::string, double> CpuModel::take_profile() {
  return std::exchange(times_, {});
}

}  // namespace kraken::cpu
