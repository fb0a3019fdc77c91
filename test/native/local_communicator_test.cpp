// The communicator suite over threads of one process, and what only that one promises.
#include <atomic>
#include <chrono>

#include "base/error.h"
#include "comm/local/local_group.h"
#include "communicator_harness.h"

namespace kraken {
namespace {

using test::Group;
using test::on_all_ranks;

using test::CommunicatorSuite;
INSTANTIATE_TEST_SUITE_P(Local, CommunicatorSuite,
                         testing::Values(test::CommunicatorKind{
                             "local",
                             [](int ranks, bool communication) {
                               return make_local_group(ranks, {.communication = communication});
                             }}),
                         [](const auto& info) { return std::string(info.param.name); });

// The fastest rank runs ahead as far as it may. With three slots its start(3) would overwrite what the
// slowest rank has yet to read of exchange 0.
TEST(Communicator, SlotsSurviveTheFastestRank) {
  Group group = make_local_group(2);
  Communicator &fast = *group[0], &slow = *group[1];
  float values[4] = {10, 11, 12, 13};
  const float other = 5;
  const float* others[] = {&other};
  const auto start_fast = [&](int ticket) {
    const float* part = &values[ticket];
    fast.start({&part, 1}, 1, 1);
  };
  start_fast(0);
  start_fast(1);
  slow.start(others, 1, 1);
  slow.start(others, 1, 1);
  fast.wait(0);
  start_fast(2);
  fast.wait(1);
  start_fast(3);
  const auto addends = slow.wait(0).sum.float32;
  ASSERT_EQ(addends.size(), 2u);
  EXPECT_EQ(addends[0], &values[0]);
  EXPECT_EQ(addends[1], &other);
  EXPECT_EQ(slow.wait(1).sum.float32[0], &values[1]);
}

TEST(EmulatedLink, DelaysByBytesOverBandwidthPlusLatencyAndQueues) {
  using namespace std::chrono_literals;
  EmulatedLink link({.latency_seconds = 20e-6, .bytes_per_second = 1e9});
  const EmulatedLink::Clock::time_point begin{};
  const auto after = [&](EmulatedLink::Clock::duration d) { return begin + 1s + d; };
  EXPECT_EQ(link.send(50e3, after(0us)), after(70us));
  EXPECT_EQ(link.send(50e3, after(10us)), after(120us));  // behind the first
  EXPECT_EQ(link.send(0, after(500us)), after(520us));    // the link is free again
  EmulatedLink memory({.latency_seconds = 1, .bytes_per_second = 0});
  EXPECT_EQ(memory.send(1e9, after(3us)), after(3us));
}

TEST(Communicator, ASlowLinkHoldsBackWhatWasSent) {
  using namespace std::chrono_literals;
  // 2 ranks: a rank sends each byte once. 1,000 elements of 2 bytes take 20 ms, and 10 ms to arrive.
  Group group = make_local_group(2, {.link = {0.010, 1e5}, .bytes_per_element = 2});
  const std::vector<float> value(1000, 1.0f);
  const float* parts[] = {value.data()};
  std::vector<float> full(2);
  std::chrono::steady_clock::time_point before[2], after[2];  // each rank's start
  const auto begin = std::chrono::steady_clock::now();
  on_all_ranks(group, [&](Communicator& c) {
    before[c.rank()] = std::chrono::steady_clock::now();
    const Ticket first = c.start(parts, 10, 100);
    after[c.rank()] = std::chrono::steady_clock::now();
    if (c.rank() == 0) std::this_thread::sleep_for(25ms);  // works meanwhile: that much is hidden
    EXPECT_EQ(c.wait(first).sum.count(), 2u);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 30ms);
    const float logit = static_cast<float>(c.rank());
    c.gather_columns(&logit, 1, 1, c.rank(), full.data(), 2);
    if (c.rank() == 0) {
      EXPECT_GE(std::chrono::steady_clock::now() - begin, 40ms);
    }
  });
  EXPECT_EQ(full[1], 1.0f);
  // On a busy machine one rank may start much later than the other, whose part then is on its way already.
  const auto least = [&](int rank) { return 30ms - (after[rank] - before[1 - rank]); };
  for (const auto& communicator : group) {
    EXPECT_EQ(communicator->exchanges(), 1u);
    EXPECT_GE(std::chrono::nanoseconds(communicator->collective_nanoseconds()), least(communicator->rank()));
  }
  EXPECT_GE(std::chrono::nanoseconds(group[1]->exposed_nanoseconds()), least(1) - 5ms);  // hid nothing
}

TEST(Communicator, AbortEndsAWaitForASlowLink) {
  Group group = make_local_group(2, {.link = {3600, 1e9}});
  const float value = 1;
  const float* parts[] = {&value};
  on_all_ranks(group, [&](Communicator& c) {
    const Ticket ticket = c.start(parts, 1, 1);
    if (c.rank() == 1) return c.abort("enough");
    EXPECT_THROW(c.wait(ticket), Error);
  });
}

TEST(Communicator, CountsWhatWorkHides) {
  constexpr uint64_t kWork = 60'000'000;
  Group group = make_local_group(2, {.link = {0.2, 1e9}});
  const float value = 1;
  const float* part = &value;
  on_all_ranks(group, [&](Communicator& c) {
    const Ticket ticket = c.start({&part, 1}, 1, 1);
    std::this_thread::sleep_for(std::chrono::nanoseconds(kWork));
    c.wait(ticket);
  });
  for (const auto& communicator : group) {
    const uint64_t all = communicator->collective_nanoseconds(), hidden = communicator->hidden_nanoseconds();
    EXPECT_GE(hidden, std::min(kWork, all));
    EXPECT_LE(hidden, all);
    EXPECT_GE(hidden + communicator->exposed_nanoseconds(), all);
  }
}

}  // namespace
}  // namespace kraken
