#include "runtime/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace kraken {
namespace {

constexpr int32_t kBlockTokens = 4;

// A scheduler with a cache, and a step that generates token 0.
class Bench {
 public:
  Bench(int32_t blocks, SchedulerOptions options) : cache(blocks, kBlockTokens), scheduler(options, cache) {}

  Sequence* add(Request::Kind kind, int32_t prompt, int32_t limit, int32_t samples = 1) {
    auto first = make(kind, prompt, limit, 0);
    for (int32_t sample = 1; sample < samples; ++sample)
      first->siblings.push_back(make(kind, prompt, limit, sample));
    ++requests;
    Sequence* sequence = first.get();
    scheduler.add(std::move(first));
    return sequence;
  }
  Sequence* generate(int32_t prompt, int32_t output = 1000) {
    return add(Request::Kind::Generate, prompt, prompt + output);
  }

  // Runs a step and returns its chunks; `finished` collects what ends.
  std::vector<Chunk> step() {
    const std::vector<Chunk> chunks = scheduler.schedule();
    for (auto& sequence : scheduler.take_exhausted()) exhausted.push_back(std::move(sequence));
    std::set<int32_t> owned;
    for (const Chunk& chunk : chunks) {
      Sequence& sequence = *chunk.sequence;
      EXPECT_EQ(chunk.past, sequence.computed);
      EXPECT_GE(sequence.blocks.size() * kBlockTokens, chunk.past + chunk.length);
      for (int32_t token = chunk.past / kBlockTokens; token < sequence.blocks.size(); ++token) {
        // What a step writes belongs to one sequence only.
        EXPECT_TRUE(owned.insert(sequence.blocks.blocks()[static_cast<size_t>(token)]).second);
      }
    }
    for (const Chunk& chunk : chunks) {
      Sequence& sequence = *chunk.sequence;
      scheduler.complete(chunk);
      if (sequence.kind == Request::Kind::Generate) {
        if (chunk.rows == 0) continue;
        EXPECT_EQ(chunk.first_row, sequence.length() - 1);
        sequence.tokens.push_back(0);
        if (sequence.length() >= sequence.token_limit) finished.push_back(scheduler.finish(sequence));
      } else {
        EXPECT_EQ(chunk.rows > 0 ? chunk.first_row : sequence.rows_emitted, sequence.rows_emitted);
        sequence.rows_emitted += chunk.rows;
        if (sequence.computed == sequence.prompt_length) finished.push_back(scheduler.finish(sequence));
      }
    }
    return chunks;
  }

  KvCache cache;
  Scheduler scheduler;
  std::vector<std::unique_ptr<Sequence>> finished, exhausted;
  uint64_t requests = 0, arrivals = 0;

 private:
  std::unique_ptr<Sequence> make(Request::Kind kind, int32_t prompt, int32_t limit, int32_t sample) {
    auto sequence = std::make_unique<Sequence>();
    sequence->request = requests + 1;
    sequence->sample = sample;
    sequence->arrival = arrivals++;
    sequence->kind = kind;
    sequence->tokens.assign(static_cast<size_t>(prompt), 1);
    sequence->prompt_length = prompt;
    sequence->token_limit = limit;
    return sequence;
  }
};

SchedulerOptions options(int32_t batch = 4, int32_t step_tokens = 32, int32_t chunk = 8,
                         int32_t score_rows = 8) {
  return {batch, 1 << 20, step_tokens, chunk, batch + score_rows};
}

TEST(Scheduler, PromptsTakeTheWholeBudgetUntilSomethingDecodes) {
  Bench bench(1000, options());
  bench.generate(40);
  auto step = bench.step();
  ASSERT_EQ(step.size(), 1u);
  EXPECT_EQ(step[0].length, 32);
  EXPECT_EQ(step[0].rows, 0);
  step = bench.step();
  EXPECT_EQ(step[0].past, 32);
  EXPECT_EQ(step[0].length, 8);
  EXPECT_EQ(step[0].rows, 1);
  bench.generate(20);
  step = bench.step();
  ASSERT_EQ(step.size(), 2u);
  EXPECT_EQ(step[0].length, 1);  // decoding comes first
  EXPECT_EQ(step[1].length, 8);  // and leaves the prompt a chunk
  step = bench.step();
  EXPECT_EQ(step[1].length, 8);
  step = bench.step();
  EXPECT_EQ(step[1].length, 4);
  EXPECT_EQ(step[1].rows, 1);
}

TEST(Scheduler, PacksSeveralPromptsInOrderOfArrival) {
  Bench bench(1000, options());
  for (int32_t prompt : {10, 10, 20, 5}) bench.generate(prompt);
  auto step = bench.step();
  ASSERT_EQ(step.size(), 3u);
  EXPECT_EQ(step[2].length, 12);
  step = bench.step();
  ASSERT_EQ(step.size(), 3u);  // two decode, the third goes on with its 8; the fourth waits
  EXPECT_EQ(step[2].length, 8);
  EXPECT_EQ(bench.scheduler.waiting(), 1);
}

TEST(Scheduler, BatchSizeBoundsTheRunning) {
  Bench bench(1000, options(2));
  for (int i = 0; i < 5; ++i) bench.generate(2, 3);
  while (!bench.scheduler.idle()) EXPECT_LE(bench.step().size(), 2u);
  EXPECT_EQ(bench.finished.size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(bench.finished[i]->arrival, i);
  EXPECT_EQ(bench.cache.used_blocks(), 0);
}

TEST(Scheduler, TheHeadOfTheQueueIsNotOvertaken) {
  Bench bench(10, options());
  bench.generate(20);  // 5 of 10 blocks
  bench.step();
  bench.generate(24);  // needs 6
  bench.generate(1);   // would fit
  const auto step = bench.step();
  EXPECT_EQ(step.size(), 1u);
  EXPECT_EQ(bench.scheduler.waiting(), 2);
}

TEST(Scheduler, TheLatestArrivalIsPreemptedAndResumesWithItsTokens) {
  Bench bench(7, options());
  Sequence* first = bench.generate(8, 16);
  Sequence* second = bench.generate(8, 12);
  size_t longest = 0;
  for (int i = 0; i < 100 && !bench.scheduler.idle(); ++i) {
    longest = std::max(longest, second->tokens.size());
    bench.step();
    if (bench.scheduler.preemptions() > 0) break;
  }
  EXPECT_EQ(first->preemptions, 0);
  EXPECT_EQ(second->preemptions, 1);
  EXPECT_EQ(second->computed, 0);
  EXPECT_EQ(second->tokens.size(), longest);  // nothing generated is lost
  bench.generate(1, 1);                       // arrives later: stays behind it
  while (!bench.scheduler.idle()) bench.step();
  ASSERT_EQ(bench.finished.size(), 3u);
  EXPECT_EQ(bench.finished[0]->arrival, 0u);
  EXPECT_EQ(bench.finished[0]->length(), 24);
  EXPECT_EQ(bench.cache.used_blocks(), 0);
}

TEST(Scheduler, ASequenceAloneThatOutgrowsTheCacheIsExhausted) {
  Bench bench(3, options());
  bench.generate(5, 100);
  bench.generate(5, 2);
  while (!bench.scheduler.idle()) bench.step();
  ASSERT_EQ(bench.exhausted.size(), 1u);
  EXPECT_EQ(bench.exhausted[0]->arrival, 0u);
  EXPECT_EQ(bench.exhausted[0]->length(), 13);  // 12 cached, and the one they gave
  ASSERT_EQ(bench.finished.size(), 1u);
  EXPECT_EQ(bench.cache.used_blocks(), 0);
}

TEST(Scheduler, ScoreRowsAreChunkedAndNeverRepeated) {
  Bench bench(1000, options(4, 64, 16, 8));
  bench.add(Request::Kind::Score, 20, 20);
  std::vector<int32_t> rows;
  while (!bench.scheduler.idle()) {
    for (const Chunk& chunk : bench.step()) {
      EXPECT_LE(chunk.rows, 8);
      for (int32_t i = 0; i < chunk.rows; ++i) rows.push_back(chunk.first_row + i);
    }
  }
  ASSERT_EQ(rows.size(), 19u);
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], static_cast<int32_t>(i));
  bench.add(Request::Kind::Score, 1, 1);  // no row, but a step
  EXPECT_EQ(bench.step().size(), 1u);
  bench.add(Request::Kind::Logits, 3, 3);
  EXPECT_EQ(bench.step()[0].rows, 3);
  EXPECT_TRUE(bench.scheduler.idle());
}

TEST(Scheduler, SamplesShareTheFullBlocksOfTheirPrompt) {
  Bench bench(100, options());
  bench.add(Request::Kind::Generate, 18, 18 + 6, 3);
  EXPECT_EQ(bench.scheduler.waiting(), 3);
  auto step = bench.step();
  ASSERT_EQ(step.size(), 1u);
  EXPECT_EQ(step[0].length, 18);
  EXPECT_EQ(bench.scheduler.waiting(), 2);
  step = bench.step();
  ASSERT_EQ(step.size(), 3u);
  EXPECT_EQ(step[1].past, 16);
  EXPECT_EQ(step[1].length, 2);
  EXPECT_EQ(step[2].past, 16);
  EXPECT_EQ(bench.cache.used_blocks(), 4 + 3 * 1);
  while (!bench.scheduler.idle()) bench.step();
  EXPECT_EQ(bench.finished.size(), 3u);
  EXPECT_EQ(bench.cache.used_blocks(), 0);
  // A prompt that ends with a block: its last token is computed by each sample, in a block of its own.
  bench.add(Request::Kind::Generate, 8, 9, 2);
  bench.step();
  step = bench.step();
  ASSERT_EQ(step.size(), 1u);
  EXPECT_EQ(step[0].past, 4);
}

TEST(Scheduler, WaitingSamplesGiveUpTheirSharedBlocksBeforeAnyonePreempts) {
  Bench bench(6, options(1));
  bench.add(Request::Kind::Generate, 8, 8 + 17, 2);  // sample 0 alone needs all 6 blocks in the end
  while (!bench.scheduler.idle()) bench.step();
  EXPECT_EQ(bench.finished.size(), 2u);
  EXPECT_EQ(bench.exhausted.size(), 0u);
  EXPECT_EQ(bench.scheduler.preemptions(), 0u);
  EXPECT_EQ(bench.cache.used_blocks(), 0);
}

TEST(Scheduler, CancelReachesEveryStateAndSample) {
  Bench bench(100, options(2));
  bench.add(Request::Kind::Generate, 40, 100, 3);  // in its prompt, samples inside
  bench.step();
  EXPECT_EQ(bench.scheduler.cancel(1).size(), 3u);
  EXPECT_TRUE(bench.scheduler.idle());
  bench.add(Request::Kind::Generate, 4, 100, 3);
  bench.step();
  bench.step();  // two run, one waits with a shared block
  EXPECT_EQ(bench.scheduler.cancel(7).size(), 0u);
  EXPECT_EQ(bench.scheduler.cancel(2).size(), 3u);
  EXPECT_EQ(bench.cache.used_blocks(), 0);
  bench.generate(5);
  bench.generate(5);
  bench.step();
  bench.generate(5);
  EXPECT_EQ(bench.scheduler.cancel_all().size(), 3u);
  EXPECT_TRUE(bench.scheduler.idle());
  EXPECT_EQ(bench.cache.used_blocks(), 0);
}

TEST(Scheduler, RandomLoadsAllFinishWithinTheLimits) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const auto limits =
        options(1 + static_cast<int32_t>(random() % 6), 16, 1 + static_cast<int32_t>(random() % 8), 3);
    Bench bench(12, limits);
    size_t samples = 0, added = 0;
    int steps = 0;
    while (added < 60 || !bench.scheduler.idle()) {
      if (added < 60 && random() % 3 == 0) {
        const auto kind = static_cast<Request::Kind>(random() % 8 < 6 ? 0 : 1 + random() % 2);
        const auto prompt = 1 + static_cast<int32_t>(random() % 24);
        const int32_t count = kind == Request::Kind::Generate ? 1 + static_cast<int32_t>(random() % 3) : 1;
        const int32_t output = kind == Request::Kind::Generate ? 1 + static_cast<int32_t>(random() % 24) : 0;
        bench.add(kind, prompt, prompt + output, count);
        samples += static_cast<size_t>(count);
        ++added;
      }
      const auto chunks = bench.step();
      int32_t tokens = 0, rows = 0;
      for (const Chunk& chunk : chunks) {
        tokens += chunk.length;
        rows += chunk.rows;
      }
      ASSERT_LE(tokens, limits.max_step_tokens);
      ASSERT_LE(rows, limits.max_rows);
      ASSERT_LE(chunks.size(), static_cast<size_t>(limits.max_batch_size));
      ASSERT_LT(++steps, 20000) << "no progress, seed " << seed;
    }
    EXPECT_EQ(bench.finished.size() + bench.exhausted.size(), samples);
    EXPECT_TRUE(bench.exhausted.empty());  // 24 + 24 tokens fit 12 blocks exactly
    EXPECT_EQ(bench.cache.used_blocks(), 0);
    for (const auto& sequence : bench.finished) {
      if (sequence->kind == Request::Kind::Generate) continue;
      EXPECT_EQ(sequence->rows_emitted, sequence->prompt_rows());
    }
  }
}

}  // namespace
}  // namespace kraken
