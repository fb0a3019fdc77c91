#include "attend_launch.h"
#include "attention.cuh"
#include "attention.h"
#include "launch.h"

namespace kraken::kernels {
namespace {

bool is_valid(const AttentionShape& shape) {
  constexpr int64_t kMaxPairs = 0xffff;  // CUDA's bound on grid.y
  return shape.ways >= 1 && shape.heads >= 1 && shape.kv_heads >= 1 && shape.heads % shape.kv_heads == 0 &&
         shape.head_dim >= 1 && shape.head_dim <= kMaxHeadDim &&
         int64_t{shape.ways} * shape.kv_heads <= kMaxPairs && shape.heads <= kMaxPairs;
}

bool is_valid(const Rotary& rotary, int32_t head_dim) {
  if (rotary.style == RotaryStyle::None) return true;
  return (rotary.style == RotaryStyle::HalfSplit || rotary.style == RotaryStyle::Interleaved) &&
         rotary.dims >= 2 && rotary.dims % 2 == 0 && rotary.dims <= head_dim;
}

bool are_integers(const int32_t* pointer) {
  return pointer != nullptr && is_aligned(pointer, 4);
}

// A cache is whole vectors of 16 bytes, and holds every number that a block table may.
bool is_valid_cache(const AttentionSpec& spec) {
  constexpr int64_t kMost = 0x7fffffff;
  return is_aligned(spec.cache, 16) && spec.block_tokens >= 1 && spec.block_tokens <= kMaxBlockTokens &&
         (spec.block_tokens & (spec.block_tokens - 1)) == 0 && spec.cache_blocks >= 1 &&
         spec.cache_blocks <= kMost && spec.table_width >= 1 &&
         spec.table_width <= kMost / spec.block_tokens && are_integers(spec.past_lengths) &&
         are_integers(spec.block_tables);
}

bool is_valid(const AttentionSpec& spec) {
  constexpr int64_t kMost = 0x7ffffffe / 2;
  if (!is_valid(spec.shape) || !is_valid(spec.rotary, spec.shape.head_dim)) return false;
  if (spec.tokens < 0 || spec.tokens > kMost || spec.sequences < 0 || spec.sequences > kMost) return false;
  if (spec.tokens == 0) return true;
  if (spec.rows < 0 || spec.rows > spec.tokens || (spec.wanted_rows == nullptr && spec.rows != spec.tokens)) {
    return false;
  }
  // Rows of a tile and of a sequence are counted in int32.
  if (spec.rows * (spec.shape.heads / spec.shape.kv_heads) > kMost) return false;
  const int64_t element = size_of(spec.shape.dtype);
  return spec.sequences >= 1 && spec.qkv != nullptr && is_aligned(spec.qkv, element) &&
         are_integers(spec.positions) && are_integers(spec.sequence_begins) &&
         (spec.rows == 0 || (spec.out != nullptr && is_aligned(spec.out, element))) &&
         is_aligned(spec.wanted_rows, 4) && spec.workspace != nullptr && is_aligned(spec.workspace, 16) &&
         (spec.cache == nullptr || is_valid_cache(spec));
}

template <typename T>
Step<T> step_of(const AttentionSpec& spec) {
  constexpr double kLog2E = 1.44269504088896340736;
  Step<T> step{};
  step.qkv = static_cast<const T*>(spec.qkv);
  step.cache = static_cast<T*>(spec.cache);
  step.out = static_cast<T*>(spec.out);
  step.positions = spec.positions;
  step.begins = spec.sequence_begins;
  step.past = spec.past_lengths;
  step.tables = spec.block_tables;
  step.wanted = spec.wanted_rows;
  step.heads = spec.shape.heads;
  step.kv_heads = spec.shape.kv_heads;
  step.group = spec.shape.heads / spec.shape.kv_heads;
  step.pairs = spec.shape.ways * spec.shape.kv_heads;
  step.head_dim = spec.shape.head_dim;
  step.row = static_cast<int32_t>(kv_row(spec.shape));
  step.tokens = static_cast<int32_t>(spec.tokens);
  step.sequences = static_cast<int32_t>(spec.sequences);
  step.rows = static_cast<int32_t>(spec.rows);
  step.paged = spec.cache != nullptr;
  if (step.paged) {
    step.table_width = static_cast<int32_t>(spec.table_width);
    step.block_tokens = spec.block_tokens;
    while (1 << step.block_shift < spec.block_tokens) ++step.block_shift;
    step.blocks = static_cast<int32_t>(spec.cache_blocks);
    step.capacity = step.table_width * step.block_tokens;
  } else {
    step.cache = static_cast<T*>(spec.workspace);
    step.block_tokens = step.capacity = step.tokens;
  }
  step.scale = static_cast<float>(kLog2E * double{spec.scale});
  return step;
}

template <typename T>
cudaError_t run(const AttentionSpec& spec, cudaStream_t stream) {
  const Step<T> step = step_of<T>(spec);
  // A launch of its own: no block reads keys that another block of the same launch writes.
  cudaError_t error = launch(append_kernel<T>, dim3(static_cast<unsigned int>(spec.tokens)), kAppendThreads,
                             stream, step, spec.rotary);
  if (error != cudaSuccess || spec.rows == 0) return error;

  const AttentionPlan plan = plan_attention(spec);
  const int32_t floats = partial_row(spec.shape);
  const bool splits = plan.few.splits > 1;
  float* partials = nullptr;
  if (splits) {
    partials = reinterpret_cast<float*>(static_cast<char*>(spec.workspace) +
                                        workspace_of(spec.shape, spec.tokens).cache_bytes);
  }
  if (plan.many.tiles > 0) {
    error = attend(step, spec.rotary, plan.many, false, nullptr, floats, stream);
    if (error != cudaSuccess) return error;
  }
  if (plan.few.tiles > 0) {
    error = attend(step, spec.rotary, plan.few, true, partials, floats, stream);
    if (error != cudaSuccess || !splits) return error;
    return launch(combine_kernel<T>,
                  dim3(static_cast<unsigned int>(plan.few.tiles), static_cast<unsigned int>(step.pairs)),
                  kCombineThreads, stream, step, plan.few, partials, floats);
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t attention(const AttentionSpec& spec, cudaStream_t stream) {
  if (!is_valid(spec)) return cudaErrorInvalidValue;
  if (spec.tokens == 0) return cudaSuccess;
  return dispatch(spec.shape.dtype, [&](auto element) { return run<decltype(element)>(spec, stream); });
}

}  // namespace kraken::kernels
