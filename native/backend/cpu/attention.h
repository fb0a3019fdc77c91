// Causal attention over a paged KV cache whose blocks are already in dot-product layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "base/dtype.h"

namespace kraken::cpu {

// One KV block of one layer holds kBlockTokens tokens of every (way, key/value head), in the layout that the
// tile functions read (KvLayout in attention_kernels.h), so that append transposes and the tile only
// multiplies. A block needs no clearing before its first or next use: whatever it holds is either overwritten
// or masked.
inline constexpr int kBlockTokens = 64;

struct AttentionShape {
  int ways = 1;
  int heads = 0, kv_heads = 0;  // of one way on this rank
  int head_dim = 0;
  DType dtype = DType::Float32;  // compute dtype

  int qkv_width() const { return (heads + 2 * kv_heads) * head_dim; }
  // Bytes of one block of one layer; a multiple of 64.
  size_t block_bytes() const;
};

struct AttentionCall {
  const void* qkv = nullptr;  // [W, T, (h + 2·kv)·hd]: queries, keys, values; rotated already
  int64_t tokens = 0;         // T
  std::span<const StepBatch::Sequence> sequences;
  std::byte* cache =
      nullptr;  // this layer's blocks: block i at cache + i · block_stride; any alignment, 64 is fastest
  size_t block_stride = 0;
  // Rows of T whose output is wanted, ascending; output row r belongs to wanted[r]. Empty span with
  // all_rows = true: all of them.
  bool all_rows = true;
  std::span<const int32_t> wanted;
  void* out = nullptr;  // [W, T or B, h·hd]; may not alias qkv
};

class Attention {
 public:
  // max_context: longest sequence. Scratch is allocated here, for `threads` threads.
  Attention(const AttentionShape& shape, int64_t max_tokens, int64_t max_context, int threads);
  ~Attention();

  // Appends the step's keys and values to the cache, then attends. Scale is 1/√head_dim.
  // Deterministic: a row's result depends only on its own sequence, never on the batch, the chunking of the
  // prompt, or the thread count.
  void run(const AttentionCall& call);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kraken::cpu
