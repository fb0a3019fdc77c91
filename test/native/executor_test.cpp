// The suite every Executor must pass, over a fake model: whatever happens around a request, it gives what it
// would have given alone.
#include <gtest/gtest.h>

#include <random>

#include "executor_harness.h"

namespace kraken::test {

TEST_P(ExecutorSuite, OneRequestOnAnyNumberOfRanks) {
  for (int ranks : {1, 2, 4}) {
    Engine engine(GetParam(), ranks);
    const Request request = plain(30, 50);
    const auto sample = engine.log.wait(engine.executor->enqueue(request));
    EXPECT_EQ(sample.tokens, alone(request, 0, ranks));
    EXPECT_EQ(sample.last.finish, FinishReason::Length);
    EXPECT_GE(sample.last.total_ms, sample.last.first_token_ms);
    EXPECT_GE(sample.last.first_token_ms, sample.last.queue_ms);
    EXPECT_TRUE(std::isnan(sample.logprobs[0]));  // not asked for
  }
}

// 64 requests at random times, some cancelled, under a cache that holds a few of them: all finish, and what
// they generate is what they generate alone.
void run_mixed_load(const Implementation& implementation, int ranks, int kv_blocks, bool expect_preemption) {
  LocalExecutorConfig config = small_config();
  config.kv_blocks = kv_blocks;
  Engine engine(implementation, ranks, config);
  std::mt19937 random(static_cast<unsigned>(kv_blocks));
  std::vector<std::pair<RequestId, Request>> requests;
  std::vector<bool> cancelled;
  for (int i = 0; i < 64; ++i) {
    Request request = random_request(random);
    request.samples = random() % 5 == 0 ? 3 : 1;
    requests.emplace_back(engine.executor->enqueue(request), request);
    cancelled.push_back(random() % 6 == 0);
    if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    if (i > 3 && cancelled[static_cast<size_t>(i - 3)])
      engine.executor->cancel(requests[static_cast<size_t>(i - 3)].first);
  }
  for (size_t i = 61; i < 64; ++i) {
    if (cancelled[i]) engine.executor->cancel(requests[i].first);
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto& [id, request] = requests[i];
    for (int32_t n = 0; n < request.samples; ++n) {
      const auto sample = engine.log.wait(id, n);
      FinishReason finish;
      std::vector<int32_t> expected = alone(request, n, ranks, &finish);
      if (sample.last.finish == FinishReason::Cancelled) {
        EXPECT_TRUE(cancelled[i]);
        ASSERT_LE(sample.tokens.size(), expected.size());
        expected.resize(sample.tokens.size());
      } else {
        EXPECT_EQ(sample.last.finish, finish);
      }
      EXPECT_EQ(sample.tokens, expected) << "request " << id << " sample " << n;
    }
  }
  const ExecutorStats stats = engine.executor->stats();
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_EQ(stats.failed, 0u);
  EXPECT_EQ(stats.exposed_ms.size(), static_cast<size_t>(ranks));
  if (expect_preemption) {
    EXPECT_GT(stats.preemptions, 0u);
  }
  EXPECT_LE(engine.controls->largest_step, config.max_step_tokens);
}

TEST_P(ExecutorSuite, MixedLoadEqualsRunningAlone) {
  run_mixed_load(GetParam(), 2, 200, false);
}
TEST_P(ExecutorSuite, MixedLoadUnderATinyCache) {
  run_mixed_load(GetParam(), 1, 25, true);
}
TEST_P(ExecutorSuite, MixedLoadFourRanksTinyCache) {
  run_mixed_load(GetParam(), 4, 27, true);
}

TEST_P(ExecutorSuite, MeasuresBoundsBetweenSteps) {
  Engine engine(GetParam(), 2);
  const Request before = plain(5, 3);
  EXPECT_EQ(engine.log.wait(engine.executor->enqueue(before)).tokens, alone(before, 0, 2));

  Request products = plain(150, 1);  // more than a step takes: in pieces
  products.kind = Request::Kind::Products;
  Request weight_read = plain(1, 1);
  weight_read.kind = Request::Kind::WeightRead;
  const RequestId first = engine.executor->enqueue(products), second = engine.executor->enqueue(weight_read);
  for (const RequestId id : {first, second}) {
    const auto measured = engine.log.wait(id);
    ASSERT_EQ(measured.values.size(), 1u);
    EXPECT_GE(measured.values[0], 0.0f);
    EXPECT_EQ(measured.last.finish, FinishReason::Length);
    EXPECT_TRUE(measured.tokens.empty());
  }
  EXPECT_EQ(engine.controls->product_tokens, 2 * 150);
  EXPECT_EQ(engine.controls->weight_reads, 2);

  const Request after = plain(30, 20);
  EXPECT_EQ(engine.log.wait(engine.executor->enqueue(after)).tokens, alone(after, 0, 2));
  EXPECT_EQ(engine.executor->stats().waiting, 0);
}

TEST_P(ExecutorSuite, ScoreAndLogits) {
  LocalExecutorConfig config = small_config();
  config.kv_blocks = 26;
  Engine engine(GetParam(), 2, config);
  std::mt19937 random(8);
  std::vector<std::pair<RequestId, Request>> scores;
  std::vector<RequestId> noise;
  for (int i = 0; i < 12; ++i) {
    Request request = random_request(random, 150);
    request.kind = Request::Kind::Score;
    if (i == 0) request.prompt.resize(1);
    scores.emplace_back(engine.executor->enqueue(request), request);
    noise.push_back(engine.executor->enqueue(random_request(random)));
  }
  for (const auto& [id, request] : scores) {
    const auto sample = engine.log.wait(id);
    EXPECT_EQ(sample.last.finish, FinishReason::Length);
    ASSERT_EQ(sample.values.size(), request.prompt.size());
    EXPECT_TRUE(std::isnan(sample.values[0]));
    for (size_t i = 1; i < request.prompt.size(); ++i) {
      const auto logits = fake::logits_after({request.prompt.data(), i}, 2);
      ASSERT_EQ(sample.values[i], token_logprob(logits, request.prompt[i])) << i;
    }
  }
  for (RequestId id : noise) engine.log.wait(id);

  Engine wide(GetParam(), 2);
  wide.log.row_width = fake::kVocab;
  Request request = random_request(random);
  request.kind = Request::Kind::Logits;
  request.prompt.resize(40, 3);
  const auto sample = wide.log.wait(wide.executor->enqueue(request));
  ASSERT_EQ(sample.values.size(), request.prompt.size() * fake::kVocab);
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    const auto logits = fake::logits_after({request.prompt.data(), i + 1}, 2);
    EXPECT_TRUE(std::equal(logits.begin(), logits.end(),
                           sample.values.begin() + static_cast<ptrdiff_t>(i * fake::kVocab)));
  }
}

TEST_P(ExecutorSuite, EndsAtTheLastPosition) {
  Engine engine(GetParam(), 1);
  const auto sample = engine.log.wait(engine.executor->enqueue(plain(190, 1000)));
  EXPECT_EQ(sample.tokens.size(), 10u);
  EXPECT_EQ(sample.last.finish, FinishReason::Length);
}

TEST_P(ExecutorSuite, StopTokensEndAndAreReported) {
  Engine engine(GetParam(), 1);
  Request request = plain(4, 50);
  const auto expected = alone(request, 0, 1);
  request.sampling.stop_tokens = {expected[5]};
  const auto sample = engine.log.wait(engine.executor->enqueue(request));
  EXPECT_EQ(sample.last.finish, FinishReason::Stop);
  EXPECT_EQ(sample.tokens.back(), expected[5]);
  EXPECT_EQ(sample.tokens, alone(request, 0, 1));
}

TEST_P(ExecutorSuite, StatsAndProfile) {
  LocalExecutorConfig config = small_config();
  config.profile = true;
  Engine engine(GetParam(), 2, config);
  engine.log.wait(engine.executor->enqueue(plain(20, 5)));
  const ExecutorStats stats = engine.executor->stats();
  EXPECT_EQ(stats.prompt_tokens, 20u);
  EXPECT_EQ(stats.generated_tokens, 5u);
  EXPECT_EQ(stats.steps, 5u);
  EXPECT_EQ(stats.finished, 1u);
  EXPECT_EQ(stats.weight_bytes, 2000u);
  EXPECT_EQ(stats.kv_block_tokens, 8);
  ASSERT_EQ(stats.profile_ms.size(), 2u);
  EXPECT_GE(stats.profile_ms[1].at("fake"), 5.0);
  EXPECT_EQ(engine.log.calls, 5);  // one call a step
}

}  // namespace kraken::test
