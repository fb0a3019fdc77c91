// What exchanges are said to take, over a clock that counts steps of streams: what a stream is held back must
// show in the right figure, and nobody pays who did not ask.
#include <gtest/gtest.h>

#include "layers.h"

namespace kraken::plugins {
namespace {

constexpr int32_t kRanks = 2, kLayers = 5, kSteps = 3;
constexpr uint64_t kStall = 3000;  // steps; everything else of a layer takes some hundreds at most

struct Ran {
  std::vector<kraken_exchange_times> times;
  int64_t allocations = 0;
};

Ran run(kraken_communicator_options options, const char* algorithms, bool captured = false) {
  options.capacity = 1 << 12;
  options.algorithms = algorithms;
  const int64_t before = fake_cuda::counters().allocations;
  const Group group(kRanks, options);
  Ran ran;
  ran.allocations = fake_cuda::counters().allocations - before;
  KrakenLayers layers(group, {kRanks, 1, kLayers, 5}, 4);
  for (int64_t step = 0; step < kSteps; ++step) {
    if (!captured) {
      layers.enqueue(step, 3);
      continue;
    }
    // All steps are replays of the first.
    layers.expect_step(0, 3);
    for (int32_t rank = 0; rank < kRanks && step == 0; ++rank) {
      fake_cuda::begin_capture();
      layers.enqueue_rank(rank, 0, 3);
      fake_cuda::Graph* graph = fake_cuda::end_capture(group.stream(rank));
      for (int replay = 0; replay < kSteps; ++replay) fake_cuda::replay(graph);
      fake_cuda::destroy(graph);
    }
  }
  fake_cuda::run(7);
  EXPECT_LT(layers.worst_error(), 1e-5);
  for (int32_t rank = 0; rank < kRanks; ++rank) {
    kraken_communicator_times(group.communicator(rank), &ran.times.emplace_back());
  }
  return ran;
}

constexpr const char* kOneShot = "* * * one-shot 4\n";
constexpr const char* kFolded = "* * * folded *\n* * * one-shot 4\n";
constexpr uint64_t kExchanges = kSteps * kLayers;

kraken_communicator_options timed() {
  kraken_communicator_options options{};
  options.is_timed = 1;
  return options;
}

TEST(ExchangeTimes, ASlowSumIsExposed) {
  for (const bool captured : {false, true}) {
    kraken_communicator_options options = timed();
    options.stall_side_microseconds = kStall;
    for (const kraken_exchange_times& times : run(options, kOneShot, captured).times) {
      EXPECT_EQ(times.exchanges, kExchanges + kSteps);  // and one blocking sum a step
      EXPECT_GT(times.exposed, kExchanges * kStall);
      EXPECT_GE(times.collective, times.exposed);
      EXPECT_EQ(times.hidden, times.collective - times.exposed);
      EXPECT_LT(times.hidden, times.exposed / 4);
    }
  }
}

TEST(ExchangeTimes, ASumBesideLongWorkIsHidden) {
  kraken_communicator_options options = timed();
  options.stall_main_microseconds = kStall;
  for (const kraken_exchange_times& times : run(options, kOneShot).times) {
    EXPECT_EQ(times.exchanges, kExchanges + kSteps);
    EXPECT_GT(times.hidden, 0u);
    EXPECT_EQ(times.hidden + times.exposed, times.collective);
    EXPECT_LT(times.exposed, kExchanges * kStall / 4);  // of the blocking sums
  }
}

TEST(ExchangeTimes, AFoldedSumHasWhatItsJoinWaits) {
  for (const kraken_exchange_times& times : run(timed(), kFolded).times) {
    EXPECT_EQ(times.exchanges, kExchanges + kSteps);
    EXPECT_GT(times.exposed, 0u);
    EXPECT_EQ(times.hidden, 0u);
  }
}

TEST(ExchangeTimes, CostNothingUnlessAskedFor) {
  const Ran without = run({}, kOneShot), with = run(timed(), kOneShot);
  EXPECT_EQ(with.allocations, without.allocations + 2 * kRanks);
  for (const kraken_exchange_times& times : without.times) {
    EXPECT_EQ(times.exchanges, 0u);
    EXPECT_EQ(times.collective, 0u);
  }
}

}  // namespace
}  // namespace kraken::plugins
