// How a step's attention is cut into blocks, from its shapes alone: so a captured graph stays right whatever
// the lengths on the device become, and lengths need not be known on the host.
//
// A tile is up to so many rows (query tokens × the heads that share a key/value head) of one sequence. Tiles
// of 64 rows serve prompts; tiles of 16 rows, one warp each, serve sequences with few rows, and there the
// keys are dealt to several blocks, whose results a last launch combines.
#pragma once

#include "attention.h"

namespace kraken::kernels {

constexpr int32_t kFewRows = 16;
constexpr int32_t kManyRows = 64;
constexpr int32_t kMaxSplits = 128;

// Sequences with `least` to `most` rows, in at most `tiles` tiles.
struct TileLaunch {
  int64_t tiles = 0;  // 0: nothing to launch
  int32_t least = 1;
  int32_t most = 0x7fffffff;
  int32_t splits = 1;  // parts that each tile's keys are dealt to
};

struct AttentionPlan {
  TileLaunch few, many;
};

AttentionPlan plan_attention(const AttentionSpec& spec);

// In the workspace: keys and values where no cache is given, then the partial results of split tiles.
struct AttentionWorkspace {
  int64_t cache_bytes;
  int64_t partial_bytes;
};
AttentionWorkspace workspace_of(const AttentionShape& shape, int64_t max_tokens);

// Floats of a row of partial results: the largest score, the sum of weights, two unused, and hd sums.
constexpr int32_t kPartialHead = 4;
int32_t partial_row(const AttentionShape& shape);

}  // namespace kraken::kernels
