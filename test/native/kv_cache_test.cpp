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

// Tokens whose blocks of 4 are told apart by one number each.
std::vector<int32_t> blocks_of(std::initializer_list<int32_t> contents) {
  std::vector<int32_t> tokens;
  for (int32_t content : contents) tokens.insert(tokens.end(), {content, 0, 0, 0});
  return tokens;
}

// As a sequence does that computes all of them and ends.
void run(KvCache& cache, const std::vector<int32_t>& tokens) {
  BlockTable table;
  cache.adopt(tokens, table);
  ASSERT_TRUE(cache.grow(table, static_cast<int64_t>(tokens.size())));
  cache.remember(tokens, table);
  cache.release(table);
}

TEST(KvCache, FullBlocksAreAdoptedByTheirWholePrefix) {
  KvCache cache(20, 4, true);
  run(cache, blocks_of({1, 2, 3}));
  EXPECT_EQ(cache.used_blocks(), 0);
  EXPECT_EQ(cache.idle_blocks(), 3);
  BlockTable a, b, c, d;
  EXPECT_EQ(cache.adopt(blocks_of({1, 2, 4}), a), 2);
  EXPECT_EQ(cache.adopt(blocks_of({2, 3}), b), 0);  // the same tokens after others are something else
  auto short_of_a_token = blocks_of({1, 2});
  short_of_a_token.pop_back();
  EXPECT_EQ(cache.adopt(short_of_a_token, c), 1);
  EXPECT_EQ(list(c)[0], list(a)[0]);
  EXPECT_EQ(cache.used_blocks(), 2);
  EXPECT_EQ(cache.idle_blocks(), 1);
  cache.release(a);
  cache.release(c);
  EXPECT_EQ(cache.used_blocks(), 0);
  KvCache without(20, 4);
  run(without, blocks_of({1, 2, 3}));
  EXPECT_EQ(without.adopt(blocks_of({1, 2, 3}), d), 0);
  EXPECT_EQ(without.idle_blocks(), 0);
}

TEST(KvCache, TheLongestIdleBlockIsTakenFirstAndEndsBeforeBeginnings) {
  KvCache cache(6, 4, true);
  run(cache, blocks_of({1, 2, 3}));
  run(cache, blocks_of({4, 5}));
  BlockTable table;
  EXPECT_EQ(cache.adopt(blocks_of({1, 2}), table), 2);
  cache.release(table);  // used since: now 3 is the oldest, then 5 and 4
  EXPECT_EQ(cache.free_blocks(), 6);
  BlockTable other;
  ASSERT_TRUE(cache.grow(other, 2 * 4));  // the one that was never used, and 3
  EXPECT_EQ(cache.adopt(blocks_of({1, 2, 3}), table), 2);
  cache.release(table);
  ASSERT_TRUE(cache.grow(other, 3 * 4));  // 5
  EXPECT_EQ(cache.adopt(blocks_of({4, 5}), table), 1);
  cache.release(table);
  ASSERT_TRUE(cache.grow(other, 6 * 4));
  EXPECT_FALSE(cache.grow(table, 1));
  EXPECT_EQ(cache.idle_blocks(), 0);
  cache.release(other);
  EXPECT_EQ(cache.adopt(blocks_of({1}), table), 0);
}

TEST(KvCache, WhatTwoComputedIsKeptOnce) {
  KvCache cache(10, 4, true);
  const auto tokens = blocks_of({1, 2});
  BlockTable a, b;
  ASSERT_TRUE(cache.grow(a, 8));
  ASSERT_TRUE(cache.grow(b, 12));
  cache.remember(tokens, a);
  cache.remember(tokens, b);
  EXPECT_EQ(list(b)[0], list(a)[0]);
  EXPECT_EQ(list(b)[1], list(a)[1]);
  EXPECT_EQ(cache.used_blocks(), 3);
  cache.release(a);
  EXPECT_EQ(cache.used_blocks(), 3);
  cache.release(b);
  EXPECT_EQ(cache.used_blocks(), 0);
  EXPECT_EQ(cache.idle_blocks(), 2);
}

TEST(KvCache, WhatIsForgottenIsAdoptedByNobody) {
  KvCache cache(10, 4, true);
  run(cache, blocks_of({1}));
  BlockTable a, b, c;
  ASSERT_EQ(cache.adopt(blocks_of({1, 2}), a), 1);
  ASSERT_EQ(cache.adopt(blocks_of({1, 3}), b), 1);
  ASSERT_TRUE(cache.grow(a, 8));
  cache.remember(blocks_of({1, 2}), a);
  cache.forget(a);
  cache.release(a);
  EXPECT_EQ(cache.adopt(blocks_of({1, 2}), c), 1);  // b still holds the first
  cache.release(c);
  cache.forget(b);
  cache.release(b);
  EXPECT_EQ(cache.adopt(blocks_of({1}), c), 0);
  EXPECT_EQ(cache.free_blocks(), 10);
}

// Sequences over three tokens only, so that they often begin alike. What a block holds is written beside it.
TEST(KvCache, ABlockIsAdoptedWithTheContentOfItsPrefixOnly) {
  KvCache cache(24, 2, true);
  std::mt19937 random(11);
  struct Holder {
    BlockTable table;
    std::vector<int32_t> tokens;
    size_t computed = 0;
  };
  std::vector<Holder> holders(6);
  std::vector<std::vector<int32_t>> content(24);
  int adopted = 0;
  for (int round = 0; round < 20000; ++round) {
    Holder& holder = holders[random() % holders.size()];
    if (holder.table.empty() || random() % 6 == 0) {
      if (random() % 40 == 0) cache.forget(holder.table);
      cache.release(holder.table);
      holder.tokens.resize(1 + random() % 16);
      for (int32_t& token : holder.tokens) token = static_cast<int32_t>(random() % 3);
      const int32_t found = cache.adopt(holder.tokens, holder.table);
      adopted += found;
      holder.computed = static_cast<size_t>(found) * 2;
    }
    const size_t more = std::min(holder.tokens.size(), holder.computed + random() % 4);
    if (cache.grow(holder.table, static_cast<int64_t>(more))) {
      for (; holder.computed < more; ++holder.computed) {
        const auto block = static_cast<size_t>(list(holder.table)[holder.computed / 2]);
        content[block].assign(holder.tokens.begin(),
                              holder.tokens.begin() + static_cast<ptrdiff_t>(holder.computed) + 1);
      }
      cache.remember(std::span(holder.tokens).first(holder.computed), holder.table);
    }
    for (const Holder& one : holders) {
      for (size_t token = 0; token < one.computed; ++token) {
        const auto& held = content[static_cast<size_t>(list(one.table)[token / 2])];
        ASSERT_GT(held.size(), token);
        ASSERT_TRUE(
            std::equal(held.begin(), held.begin() + static_cast<ptrdiff_t>(token) + 1, one.tokens.begin()));
      }
    }
  }
  EXPECT_GT(adopted, 1000);
  for (Holder& holder : holders) cache.release(holder.table);
  EXPECT_EQ(cache.free_blocks(), 24);
}

}  // namespace
}  // namespace kraken
