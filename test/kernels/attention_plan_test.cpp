// How steps are cut into tiles, which shapes alone decide: there must be enough tiles for whatever lengths
// they turn out to stand for, and room for what the blocks leave behind.
#include "attention_plan.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace kraken::kernels {
namespace {

AttentionSpec spec_of(int64_t rows, int64_t sequences, int32_t group, int32_t pairs) {
  AttentionSpec spec;
  spec.shape.kv_heads = pairs;
  spec.shape.heads = pairs * group;
  spec.shape.head_dim = 113;
  spec.tokens = spec.rows = rows;
  spec.sequences = sequences;
  spec.table_width = 512;
  spec.block_tokens = 64;
  static char cache = 0;
  spec.cache = &cache;
  return spec;
}

int64_t tiles_of(const std::vector<int64_t>& lengths, int64_t group, const TileLaunch& launch,
                 int64_t tile_rows) {
  int64_t tiles = 0;
  if (launch.tiles == 0) return 0;
  for (const int64_t length : lengths) {
    const int64_t rows = length * group;
    if (rows >= launch.least && rows <= launch.most) tiles += (rows + tile_rows - 1) / tile_rows;
  }
  return tiles;
}

TEST(AttentionPlan, HasTilesForAnyLengths) {
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::vector<int64_t> lengths(1 + random() % 12);
    const int64_t most = std::vector<int64_t>{1, 2, 20, 300}[random() % 4];
    for (int64_t& length : lengths) length = static_cast<int64_t>(random() % static_cast<uint64_t>(most + 1));
    int64_t rows = 0;
    for (const int64_t length : lengths) rows += length;
    const int32_t group = std::vector<int32_t>{1, 3, 8, 16, 17, 40}[random() % 6];
    const AttentionPlan plan = plan_attention(spec_of(rows, static_cast<int64_t>(lengths.size()), group, 2));
    ASSERT_LE(tiles_of(lengths, group, plan.few, kFewRows), plan.few.tiles);
    ASSERT_LE(tiles_of(lengths, group, plan.many, kManyRows), plan.many.tiles);
    // Each sequence by one of the two.
    for (const int64_t length : lengths) {
      if (length == 0) continue;
      const auto takes = [&](const TileLaunch& launch) {
        return launch.tiles > 0 && length * group >= launch.least && length * group <= launch.most;
      };
      ASSERT_EQ(takes(plan.few) + takes(plan.many), 1);
    }
  }
}

TEST(AttentionPlan, PartialResultsFitTheWorkspace) {
  for (int64_t sequences = 1; sequences <= 600; ++sequences) {
    for (const int32_t pairs : {1, 2, 3, 12, 32, 500, 511, 512, 600}) {
      const AttentionSpec spec = spec_of(sequences, sequences, 1, pairs);
      const TileLaunch few = plan_attention(spec).few;
      ASSERT_GE(few.splits, 1);
      ASSERT_LE(few.splits, kMaxSplits);
      if (few.splits == 1) continue;
      const int64_t floats = few.tiles * pairs * few.splits * kFewRows * partial_row(spec.shape);
      ASSERT_LE(floats * 4, workspace_of(spec.shape, sequences).partial_bytes);
    }
  }
}

TEST(AttentionPlan, OneLongSequenceFillsTheGpu) {
  const TileLaunch few = plan_attention(spec_of(1, 1, 1, 4)).few;
  EXPECT_EQ(few.tiles, 1);
  EXPECT_GE(few.splits * 4, 512);
  const AttentionPlan prompt = plan_attention(spec_of(4096, 1, 1, 4));
  EXPECT_EQ(prompt.many.tiles, 64);
  EXPECT_EQ(prompt.many.splits, 1);
  EXPECT_EQ(prompt.few.tiles, 0) << "nothing else may be in such a step";
}

TEST(AttentionPlan, ShortContextsAreNotSplit) {
  AttentionSpec spec = spec_of(1, 1, 1, 4);
  spec.table_width = 4;
  EXPECT_EQ(plan_attention(spec).few.splits, 1);
}

}  // namespace
}  // namespace kraken::kernels
