// What every communicator between processes promises beyond the communicator suite, whatever carries its
// frames. Each rank checks for itself.
#include <chrono>
#include <cmath>
#include <random>

#include "framed_harness.h"

namespace kraken::test {
namespace {

using namespace std::chrono_literals;

std::vector<float> normal_values(int seed, size_t count) {
  std::mt19937 random(static_cast<unsigned>(seed));
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST_P(FramedSuite, BFloat16OnTheWireRoundsOnceAndAlikeOnEveryRank) {
  constexpr int64_t kRows = 33, kWidth = 17, kCount = kRows * kWidth;
  for (int ranks : {2, 3, 4}) {
    FramedGroup group = make_group(ranks, {.wire = WireFormat::BFloat16});
    std::vector<float> all(static_cast<size_t>(kCount * ranks));  // [rank][i], on rank 0
    on_all_ranks(group, [&](FramedCommunicator& c) {
      const auto a = normal_values(c.rank(), kCount), b = normal_values(c.rank() + 100, kCount);
      const float* parts[] = {a.data(), b.data()};
      const Exchanged exchanged = c.wait(c.start(parts, kRows, kWidth));
      std::vector<float> sums;
      for (int64_t i = 0; i < kCount; ++i) sums.push_back(sum_at(exchanged.sum, i));
      if (ranks == 2) {  // what is joined has the own parts as they were
        const auto own = exchanged.join.float32;
        EXPECT_EQ(std::vector(own.begin(), own.end()), std::vector<const float*>({a.data(), b.data()}));
        EXPECT_EQ(exchanged.join.bfloat16.size(), 1u);
      }
      c.gather_columns(sums.data(), 1, kCount, c.rank() * kCount, all.data(), kCount * ranks);
      if (c.rank() != 0) return;
      double error = 0, norm = 0;
      std::vector<std::vector<float>> parts_of_all;
      for (int rank = 0; rank < ranks; ++rank) {
        parts_of_all.push_back(normal_values(rank, kCount));
        parts_of_all.push_back(normal_values(rank + 100, kCount));
      }
      for (size_t i = 0; i < kCount; ++i) {
        double exact = 0;
        for (const auto& part : parts_of_all) exact += part[i];
        error += std::pow(all[i] - exact, 2);
        norm += exact * exact;
      }
      for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], all[i % kCount]) << ranks << " ranks";
      EXPECT_LT(std::sqrt(error / norm), 3e-3) << ranks << " ranks";  // bfloat16's unit roundoff is 3.9e-3
      EXPECT_GT(error, 0);
    });
  }
}

TEST_P(FramedSuite, MovesMoreThanIsHeldOnTheWayBothWaysAtOnce) {
  constexpr int64_t kRows = 1024, kWidth = 3000;  // 12 MB
  for (int ranks : {2, 3}) {
    FramedGroup group = make_group(ranks);
    on_all_ranks(group, [&](FramedCommunicator& c) {
      const std::vector<float> mine(kRows * kWidth, static_cast<float>(c.rank() + 1));
      const float* parts[] = {mine.data()};
      const Ticket first = c.start(parts, kRows, kWidth), second = c.start(parts, kRows, kWidth);
      for (const Ticket ticket : {first, second}) {
        const Addends addends = c.wait(ticket).sum;
        for (const int64_t i : {int64_t{0}, kRows * kWidth / 2, kRows * kWidth - 1}) {
          EXPECT_EQ(sum_at(addends, i), static_cast<float>(ranks * (ranks + 1) / 2));
        }
      }
      c.barrier();
    });
  }
}

TEST_P(FramedSuite, RanksThatExchangeDifferentSizesAreOutOfStep) {
  FramedGroup group = make_group(2);
  on_all_ranks(group, [&](FramedCommunicator& c) {
    const std::vector<float> mine(8);
    const float* parts[] = {mine.data()};
    const std::string failure = failure_of([&] {
      c.wait(c.start(parts, 1, c.rank() + 1));
      c.barrier();
    });
    EXPECT_TRUE(contains(failure, "ERR_RANK_LOST")) << failure;
  });
}

TEST_P(FramedSuite, WhoLeavesHasDeliveredEverythingAndFailsOnlyThoseWhoNeedMore) {
  FramedGroup group = make_group(2);
  on_all_ranks(group, [&](FramedCommunicator& c) {
    const std::vector<float> values(1 << 20, 2.0f);
    const float* parts[] = {values.data()};
    if (c.rank() == 1) {
      c.start(parts, 1 << 10, 1 << 10);
      c.post(0, {1});
      c.post(0, {2, 3});
      return c.leave();
    }
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(sum_at(c.wait(c.start(parts, 1 << 10, 1 << 10)).sum, (1 << 20) - 1), 4.0f);
    EXPECT_EQ(c.receive(1), std::vector<uint8_t>{1});
    EXPECT_EQ(c.receive(1), (std::vector<uint8_t>{2, 3}));
    EXPECT_EQ(c.receive(1), std::nullopt);
    const std::string failure = failure_of([&] { c.wait(c.start(parts, 1, 1)); });
    EXPECT_TRUE(contains(failure, "ERR_RANK_LOST") && contains(failure, "has left")) << failure;
  });
}

TEST_P(FramedSuite, WhoAbortsHasSaidWhatItPostedBeforeAndNothingAfterwards) {
  for (int round = 0; round < 20; ++round) {
    FramedGroup group = make_group(2);
    on_all_ranks(group, [&](FramedCommunicator& c) {
      if (c.rank() == 1) {
        c.post(0, {1});
        c.abort("cable pulled");
        return c.post(0, {2});
      }
      EXPECT_EQ(c.receive(1), std::vector<uint8_t>{1});
      const std::string failure = failure_of([&] { c.receive(1); });
      EXPECT_TRUE(contains(failure, "ERR_RANK_LOST") && contains(failure, "cable pulled")) << failure;
    });
  }
}

TEST_P(FramedSuite, MessagesOfAnySizePassBesideCollectivesInOrder) {
  FramedGroup group = make_group(3);
  on_all_ranks(group, [&](FramedCommunicator& c) {
    for (uint8_t round = 0; round < 200; ++round) {
      const std::vector<uint8_t> message(size_t{round} * 100, round);
      if (c.rank() == 0) {
        for (int other : {1, 2}) c.post(other, message);
      } else {
        EXPECT_EQ(c.receive(0), message);
      }
      const float value = round;
      const float* parts[] = {&value};
      EXPECT_EQ(sum_at(c.wait(c.start(parts, 1, 1)).sum, 0), 3.0f * round);
    }
    c.barrier();
  });
}

}  // namespace
}  // namespace kraken::test
