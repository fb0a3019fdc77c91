// Prefix reuse, for every Executor: whatever a request finds in the cache, it gives what it would have given
// alone. The fake model's logits are a hash of all that lies in the sequence's blocks, so a block that is
// adopted wrongly, too early or after it was written again changes what follows.
#include <gtest/gtest.h>

#include <random>

#include "executor_harness.h"

namespace kraken::test {
namespace {

// Prompts that begin alike: each is a random path through a tree of segments, none of which ends with a
// block.
class Prompts {
 public:
  explicit Prompts(unsigned seed) : random_(seed) {}

  std::vector<int32_t> next() {
    std::vector<int32_t> prompt;
    unsigned node = 1;
    const size_t segments = 1 + random_() % 6;
    for (size_t i = 0; i < segments; ++i) {
      node = 2 * node + random_() % 2;
      std::mt19937 segment(node);
      const size_t length = 3 + segment() % 27;
      for (size_t k = 0; k < length; ++k) prompt.push_back(static_cast<int32_t>(segment() % fake::kVocab));
    }
    return prompt;
  }

 private:
  std::mt19937 random_;
};

// Requests with common beginnings under a cache of `kv_blocks`, some cancelled, some with several samples,
// some of them scores; returns the stats at the end.
ExecutorStats run_prefixes(const Implementation& implementation, int ranks, int kv_blocks, bool reuse) {
  LocalExecutorConfig config = small_config();
  config.kv_blocks = kv_blocks;
  config.prefix_reuse = reuse;
  Engine engine(implementation, ranks, config);
  std::mt19937 random(static_cast<unsigned>(kv_blocks * 10 + ranks));
  Prompts prompts(static_cast<unsigned>(kv_blocks));
  std::vector<std::pair<RequestId, Request>> requests;
  std::vector<bool> cancelled;
  uint64_t found = 0;
  for (int i = 0; i < 96; ++i) {
    Request request = random_request(random);
    request.prompt = prompts.next();
    if (random() % 6 == 0) {
      request.kind = Request::Kind::Score;
    } else if (random() % 5 == 0) {
      request.samples = 3;
    }
    requests.emplace_back(engine.executor->enqueue(request), request);
    cancelled.push_back(random() % 8 == 0);
    if (random() % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    if (i > 2 && cancelled[static_cast<size_t>(i - 2)])
      engine.executor->cancel(requests[static_cast<size_t>(i - 2)].first);
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto& [id, request] = requests[i];
    for (int32_t n = 0; n < request.samples; ++n) {
      const auto sample = engine.log.wait(id, n);
      const bool whole = sample.last.finish != FinishReason::Cancelled;
      EXPECT_TRUE(whole || cancelled[i]);
      if (request.kind == Request::Kind::Score) {
        EXPECT_TRUE(!whole || sample.values.size() == request.prompt.size());
        for (size_t row = 1; row < sample.values.size(); ++row) {
          const auto logits = fake::logits_after({request.prompt.data(), row}, ranks);
          EXPECT_EQ(sample.values[row], token_logprob(logits, request.prompt[row])) << row;
        }
        EXPECT_EQ(sample.last.cached_tokens, 0);
        continue;
      }
      std::vector<int32_t> expected = alone(request, n, ranks);
      EXPECT_LE(sample.tokens.size(), expected.size());
      if (!whole) expected.resize(std::min(expected.size(), sample.tokens.size()));
      EXPECT_EQ(sample.tokens, expected) << "request " << id << " sample " << n;
      EXPECT_LT(sample.last.cached_tokens, static_cast<int32_t>(request.prompt.size()));
      EXPECT_EQ(sample.last.cached_tokens % config.kv_block_tokens, 0);
      found += static_cast<uint64_t>(sample.last.cached_tokens);
    }
  }
  ExecutorStats stats = engine.executor->stats();
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_EQ(stats.failed, 0u);
  EXPECT_EQ(stats.prefix_hit_tokens, found);
  return stats;
}

TEST_P(ExecutorSuite, RequestsThatBeginAlikeGiveWhatTheyGiveAlone) {
  const ExecutorStats stats = run_prefixes(GetParam(), 2, 400, true);
  EXPECT_GT(stats.prefix_hit_tokens, stats.prefix_query_tokens / 4);
  EXPECT_GT(stats.kv_blocks_cached, 0);
}
TEST_P(ExecutorSuite, RequestsThatBeginAlikeUnderATinyCache) {
  for (const int ranks : {1, 4}) {
    const ExecutorStats stats = run_prefixes(GetParam(), ranks, 26, true);
    EXPECT_GT(stats.prefix_hit_tokens, 0u);
    EXPECT_GT(stats.preemptions, 0u);
  }
}
TEST_P(ExecutorSuite, NothingIsReusedWhenItIsOff) {
  const ExecutorStats stats = run_prefixes(GetParam(), 2, 26, false);
  EXPECT_EQ(stats.prefix_query_tokens, 0u);
  EXPECT_EQ(stats.prefix_hit_tokens, 0u);
  EXPECT_EQ(stats.kv_blocks_cached, 0);
}

TEST_P(ExecutorSuite, ASecondTurnFindsTheFirstOneAndItsAnswer) {
  Engine engine(GetParam(), 2);
  Request turn = plain(21, 20);
  const auto first = engine.log.wait(engine.executor->enqueue(turn));
  EXPECT_EQ(first.last.cached_tokens, 0);
  turn.prompt.insert(turn.prompt.end(), first.tokens.begin(), first.tokens.end());
  turn.prompt.push_back(5);
  const auto second = engine.log.wait(engine.executor->enqueue(turn));
  EXPECT_EQ(second.last.cached_tokens, 40);  // of 42: the last of the 41 that were known was never computed
  EXPECT_EQ(second.tokens, alone(turn, 0, 2));
  const ExecutorStats stats = engine.executor->stats();
  EXPECT_EQ(stats.prompt_tokens, 21u + 2u);
  EXPECT_EQ(stats.prefix_query_tokens, 21u + 42u);
  EXPECT_EQ(stats.prefix_hit_tokens, 40u);
  EXPECT_EQ(stats.kv_blocks_cached, (42 + 20 - 1) / 8);
}

TEST_P(ExecutorSuite, WhatAFaultLeftBehindIsNotReused) {
  Engine engine(GetParam(), 2);
  const Request request = plain(30, 5);
  engine.controls->poison = true;
  EXPECT_EQ(engine.log.wait(engine.executor->enqueue(request)).last.finish, FinishReason::Error);
  EXPECT_EQ(engine.executor->stats().kv_blocks_cached, 0);
  engine.controls->poison = false;
  const auto sample = engine.log.wait(engine.executor->enqueue(request));
  EXPECT_EQ(sample.last.cached_tokens, 0);
  EXPECT_EQ(sample.tokens, alone(request, 0, 2));
}

}  // namespace
}  // namespace kraken::test
