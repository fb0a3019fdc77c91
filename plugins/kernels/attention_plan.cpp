#include "attention_plan.h"

#include <algorithm>

namespace kraken::kernels {
namespace {

// What fills a large GPU with blocks of one warp: four for each of 132 multiprocessors.
constexpr int64_t kBlocksToFill = 512;
// Fewer keys than that are not worth a block of their own.
constexpr int64_t kKeysOfASplit = 256;

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t round_up64(int64_t value, int64_t multiple) {
  return ceil_div(value, multiple) * multiple;
}

// Of n sequences with so many rows in all.
int64_t most_tiles(int64_t rows, int64_t n, int32_t tile_rows) {
  return (rows + n * (tile_rows - 1)) / tile_rows;
}

int32_t splits_of(int64_t blocks, int64_t max_keys) {
  const int64_t wanted = ceil_div(kBlocksToFill, std::max<int64_t>(blocks, 1));
  return static_cast<int32_t>(
      std::clamp<int64_t>(std::min(wanted, ceil_div(max_keys, kKeysOfASplit)), 1, kMaxSplits));
}

}  // namespace

int64_t kv_row(const AttentionShape& shape) {
  return round_up64(shape.head_dim, 16 / size_of(shape.dtype));
}

int64_t kv_block_bytes(const AttentionShape& shape, int32_t block_tokens) {
  return int64_t{2} * shape.ways * shape.kv_heads * block_tokens * kv_row(shape) * size_of(shape.dtype);
}

int32_t partial_row(const AttentionShape& shape) {
  return static_cast<int32_t>(kPartialHead + round_up64(shape.head_dim, 4));
}

AttentionPlan plan_attention(const AttentionSpec& spec) {
  const int64_t group = spec.shape.heads / spec.shape.kv_heads,
                pairs = int64_t{spec.shape.ways} * spec.shape.kv_heads;
  const int64_t rows = spec.rows * group, sequences = std::min(spec.sequences, spec.rows);
  const int64_t max_keys = spec.cache != nullptr ? spec.table_width * spec.block_tokens : spec.tokens;
  AttentionPlan plan;
  const bool is_one = spec.sequences == 1;  // whose rows these all are
  if (is_one ? rows <= kFewRows : spec.rows <= spec.sequences) {
    // Decoding, or the last rows of prompts. Should one of several sequences have many rows, it is right but
    // slow.
    plan.few.tiles = most_tiles(rows, sequences, kFewRows);
  } else {
    if (!is_one && group <= kFewRows) {
      plan.few.tiles = sequences;
      plan.few.most = kFewRows;
      plan.many.least = kFewRows + 1;
    }
    plan.many.tiles = most_tiles(rows, std::min(sequences, rows / plan.many.least), kManyRows);
  }
  if (plan.few.tiles > 0) plan.few.splits = splits_of(plan.few.tiles * pairs, max_keys);
  return plan;
}

AttentionWorkspace workspace_of(const AttentionShape& shape, int64_t max_tokens) {
  AttentionWorkspace workspace;
  workspace.cache_bytes = round_up64(max_tokens * kv_block_bytes(shape, 1), 256);
  // n blocks are split only while n < kBlocksToFill, and then into n · ceil(kBlocksToFill / n).
  workspace.partial_bytes =
      round_up64((2 * kBlocksToFill - 1) * kFewRows * partial_row(shape) * int64_t{sizeof(float)}, 256);
  return workspace;
}

int64_t attention_workspace(const AttentionShape& shape, int64_t max_tokens) {
  const AttentionWorkspace workspace = workspace_of(shape, max_tokens);
  return workspace.cache_bytes + workspace.partial_bytes;
}

}  // namespace kraken::kernels
