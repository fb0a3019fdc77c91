#include "runtime/kv_cache.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "base/error.h"

namespace kraken {
namespace {

std::vector<int32_t> list(const BlockTable& table) {
  return {table.blocks().begin(), table.blocks().end()};
}

TEST(KvCache, GrowsByWholeBlocksAllOrNothing) {
  KvCache cache(4, 16);
  BlockTable a, b;
  EXPECT_TRUE(cache.grow(a, 1));
  EXPECT_EQ(a.size(), 1);
  EXPECT_TRUE(cache.grow(a, 16));
  EXPECT_EQ(a.size(), 1);
  EXPECT_TRUE(cache.grow(a, 17));
  EXPECT_EQ(a.size(), 2);
  EXPECT_FALSE(cache.grow(b, 33));
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(cache.free_blocks(), 2);
  EXPECT_TRUE(cache.grow(b, 32));
  EXPECT_EQ(cache.used_blocks(), 4);
  EXPECT_FALSE(cache.grow(a, 33));
  EXPECT_EQ(a.size(), 2);
  EXPECT_TRUE(cache.grow(a, 5));  // already there
  cache.release(a);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(cache.free_blocks(), 2);
  EXPECT_TRUE(cache.grow(b, 64));
}

TEST(KvCache, SharedBlocksAreFreedByTheirLastOwner) {
  KvCache cache(6, 4);
  BlockTable a, b, c;
  ASSERT_TRUE(cache.grow(a, 10));
  cache.share(a, 2, b);
  cache.share(a, 2, c);
  EXPECT_EQ(cache.used_blocks(), 3);
  ASSERT_TRUE(cache.grow(b, 10));
  EXPECT_EQ(cache.used_blocks(), 4);
  EXPECT_EQ(list(b)[0], list(a)[0]);
  EXPECT_EQ(list(b)[1], list(a)[1]);
  EXPECT_NE(list(b)[2], list(a)[2]);
  cache.release(a);
  EXPECT_EQ(cache.used_blocks(), 3);
  cache.release(b);
  EXPECT_EQ(cache.used_blocks(), 2);
  cache.release(c);
  EXPECT_EQ(cache.used_blocks(), 0);
}

TEST(KvCache, ShareNeedsAnEmptyTable) {
  KvCache cache(6, 4);
  BlockTable a, b;
  ASSERT_TRUE(cache.grow(a, 4));
  ASSERT_TRUE(cache.grow(b, 4));
  EXPECT_THROW(cache.share(a, 1, b), Error);
}

TEST(KvCache, NoBlockHasTwoOwnersUnlessShared) {
  KvCache cache(40, 8);
  std::mt19937 random(3);
  std::vector<BlockTable> tables(12);
  std::vector<int64_t> tokens(tables.size(), 0);
  for (int round = 0; round < 5000; ++round) {
    const size_t i = random() % tables.size();
    if (random() % 5 == 0) {
      cache.release(tables[i]);
      tokens[i] = 0;
    } else if (cache.grow(tables[i], tokens[i] + 1 + random() % 20)) {
      tokens[i] = static_cast<int64_t>(tables[i].size()) * 8;
    }
    std::set<int32_t> owned;
    size_t count = 0;
    for (const BlockTable& table : tables) {
      for (int32_t block : table.blocks()) owned.insert(block);
      count += static_cast<size_t>(table.size());
    }
    ASSERT_EQ(owned.size(), count);
    ASSERT_EQ(cache.used_blocks(), static_cast<int32_t>(count));
  }
}

}  // namespace
}  // namespace kraken
