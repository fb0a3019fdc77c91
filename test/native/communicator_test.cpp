// The suite every Communicator must pass, run here on the local one; and what only the local one promises.
#include "comm/communicator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "base/error.h"
#include "comm/local/local_group.h"

namespace kraken {
namespace {

using Group = std::vector<std::unique_ptr<Communicator>>;

void on_all_ranks(Group& group, const std::function<void(Communicator&)>& body) {
  std::vector<std::thread> threads;
  for (auto& communicator : group) threads.emplace_back([&body, &communicator] { body(*communicator); });
  for (std::thread& thread : threads) thread.join();
}

float payload(Ticket ticket, int rank, int way, int64_t i) {
  return static_cast<float>(static_cast<int64_t>(ticket % 1000) * 100 + rank * 10 + way + i);
}

void dawdle(std::mt19937& random) {
  const int choice = static_cast<int>(random() % 16);
  if (choice == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 60));
  if (choice < 4) std::this_thread::yield();
}

// Rotates its buffers over kExchangeDepth and writes each as early as the contract allows, keeping
// `in_flight` exchanges running. Under ThreadSanitizer a depth that is too small is a race, elsewhere a wrong
// sum.
void exchange_many(Communicator& communicator, int ways, int in_flight, int exchanges,
                   std::atomic<int>& wrong) {
  constexpr int64_t kRows = 3, kWidth = 5;
  const int rank = communicator.rank();
  std::mt19937 random(static_cast<unsigned>(rank + 1));
  std::vector<std::vector<float>> buffers(static_cast<size_t>(Communicator::kExchangeDepth * ways),
                                          std::vector<float>(kRows * kWidth));
  const auto buffer = [&](Ticket ticket, int way) -> std::vector<float>& {
    return buffers[static_cast<size_t>(ticket % Communicator::kExchangeDepth) * static_cast<size_t>(ways) +
                   static_cast<size_t>(way)];
  };
  const auto write = [&](Ticket ticket) {
    for (int way = 0; way < ways; ++way) {
      for (int64_t i = 0; i < kRows * kWidth; ++i)
        buffer(ticket, way)[static_cast<size_t>(i)] = payload(ticket, rank, way, i);
    }
  };
  const auto start = [&](Ticket ticket) {
    std::vector<const float*> parts;
    for (int way = 0; way < ways; ++way) parts.push_back(buffer(ticket, way).data());
    EXPECT_EQ(communicator.start(parts, kRows, kWidth), ticket);
  };
  const auto verify = [&](Ticket ticket, Addends addends) {
    dawdle(random);
    if (addends.size() != static_cast<size_t>(communicator.size() * ways)) ++wrong;
    for (size_t part = 0; part < addends.size(); ++part) {
      for (int64_t i = 0; i < kRows * kWidth; ++i) {
        const auto from = static_cast<int>(part);
        if (addends[part][i] != payload(ticket, from / ways, from % ways, i)) ++wrong;
      }
    }
  };
  write(0);
  start(0);
  write(1);
  for (Ticket e = 0; e < static_cast<Ticket>(exchanges); ++e) {
    if (in_flight == 2) {
      start(e + 1);
      dawdle(random);
      const Addends now = communicator.wait(e);
      write(e + 2);
      verify(e, now);
    } else {
      const Addends now = communicator.wait(e);
      verify(e, now);
      start(e + 1);
      write(e + 2);
      verify(e, now);  // until start(e + 2)
    }
  }
  communicator.barrier();  // others may still read the buffers
}

TEST(Communicator, SumsInOrderOfTheWaysOnAnyNumberOfRanks) {
  for (int ranks : {1, 2, 3, 4, 8}) {
    for (int in_flight : {1, 2}) {
      for (int ways : {1, 2}) {
        Group group = make_local_group(ranks);
        std::atomic<int> wrong{0};
        on_all_ranks(group, [&](Communicator& c) { exchange_many(c, ways, in_flight, 400, wrong); });
        EXPECT_EQ(wrong, 0) << ranks << " ranks, " << in_flight << " in flight, " << ways << " ways";
      }
    }
  }
}

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
  const Addends addends = slow.wait(0);
  ASSERT_EQ(addends.size(), 2u);
  EXPECT_EQ(addends[0], &values[0]);
  EXPECT_EQ(addends[1], &other);
  EXPECT_EQ(slow.wait(1)[0], &values[1]);
}

TEST(Communicator, RefusesAThirdExchangeInFlightAndWaitsOutOfOrder) {
  Group group = make_local_group(1);
  const float value = 1;
  const float* part = &value;
  group[0]->start({&part, 1}, 1, 1);
  group[0]->start({&part, 1}, 1, 1);
  EXPECT_THROW(group[0]->start({&part, 1}, 1, 1), Error);
  EXPECT_THROW(group[0]->wait(1), Error);
  EXPECT_EQ(group[0]->wait(0)[0], part);
  EXPECT_THROW(group[0]->wait(0), Error);
}

TEST(Communicator, GathersColumnsOnRankZero) {
  for (int ranks : {1, 2, 3, 5}) {
    Group group = make_local_group(ranks);
    constexpr int64_t kRows = 4;
    const int64_t total = ranks * 3;
    std::vector<float> full(static_cast<size_t>(kRows * total));
    for (int round = 0; round < 100; ++round) {
      on_all_ranks(group, [&](Communicator& c) {
        std::vector<float> part;
        for (int64_t i = 0; i < kRows * 3; ++i)
          part.push_back(static_cast<float>(round * 1000 + c.rank() * 100 + i));
        c.gather_columns(part.data(), kRows, 3, c.rank() * 3, full.data(), total);
        if (c.rank() != 0) return;
        for (int64_t row = 0; row < kRows; ++row) {
          for (int64_t column = 0; column < total; ++column) {
            EXPECT_EQ(full[static_cast<size_t>(row * total + column)],
                      static_cast<float>(round * 1000 + column / 3 * 100 + row * 3 + column % 3));
          }
        }
      });
    }
  }
}

TEST(Communicator, BarriersSeparatePhases) {
  Group group = make_local_group(4);
  std::atomic<int> counter{0};
  std::atomic<int> wrong{0};
  int plain = 0;  // written by one rank at a time, ordered by the barriers alone
  on_all_ranks(group, [&](Communicator& c) {
    for (int round = 0; round < 500; ++round) {
      ++counter;
      c.barrier();
      if (counter != (round + 1) * 4) ++wrong;
      if (c.rank() == round % 4) ++plain;
      c.barrier();
    }
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(plain, 500);
}

TEST(Communicator, GathersAndBarriersMix) {
  Group group = make_local_group(3);
  std::vector<float> full(3);
  on_all_ranks(group, [&](Communicator& c) {
    for (int round = 0; round < 300; ++round) {
      const auto value = static_cast<float>(round + c.rank());
      c.gather_columns(&value, 1, 1, c.rank(), full.data(), 3);
      if (c.rank() == 0) {
        EXPECT_EQ(full[2], static_cast<float>(round + 2));
      }
      c.barrier();
    }
  });
}

TEST(Communicator, AbortEndsPresentAndFutureWaits) {
  for (int kind = 0; kind < 3; ++kind) {
    Group group = make_local_group(3);
    std::atomic<int> ended{0};
    const float value = 1;
    const float* part = &value;
    std::vector<float> full(3);
    const auto block = [&](Communicator& c) {
      if (kind == 0) c.wait(c.start({&part, 1}, 1, 1));
      if (kind == 1) c.barrier();
      if (kind == 2) c.gather_columns(&value, 1, 1, c.rank(), full.data(), 3);
    };
    std::vector<std::thread> threads;
    for (int rank : {0, 1}) {  // rank 2 never comes
      threads.emplace_back([&, rank] {
        for (int attempt = 0; attempt < 2; ++attempt) {
          try {
            block(*group[static_cast<size_t>(rank)]);
            if (kind == 2 && rank != 0) --attempt;  // leaves its first gather without waiting
          } catch (const Error& error) {
            EXPECT_EQ(error.code(), "ERR_RANK_LOST");
            EXPECT_NE(std::string(error.what()).find("cable pulled"), std::string::npos) << error.what();
            ++ended;
            if (kind == 0) return;  // the ticket it waited for stays open
          }
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    group[2]->abort("cable pulled");
    group[2]->abort("a later reason");
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(ended, kind == 0 ? 2 : 4);
    EXPECT_THROW(group[2]->barrier(), Error);
  }
}

TEST(Communicator, WithoutCommunicationEachRankSeesItsOwnParts) {
  Group group = make_local_group(2, {.communication = false});
  const float a = 1, b = 2;
  const float* parts[] = {&a, &b};
  for (int round = 0; round < 10; ++round) {  // one rank alone: nothing waits for the other
    const Addends addends = group[0]->wait(group[0]->start(parts, 1, 1));
    ASSERT_EQ(addends.size(), 2u);
    EXPECT_EQ(addends[0], &a);
    EXPECT_EQ(addends[1], &b);
  }
  std::vector<float> full(2);
  on_all_ranks(group, [&](Communicator& c) {
    const float value = static_cast<float>(c.rank() + 7);
    c.gather_columns(&value, 1, 1, c.rank(), full.data(), 2);
    c.barrier();
  });
  EXPECT_EQ(full[1], 8.0f);
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
    EXPECT_EQ(c.wait(first).size(), 2u);
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

TEST(Communicator, CountsOnlyTheTimeItWaits) {
  Group group = make_local_group(2);
  const float value = 1;
  const float* part = &value;
  on_all_ranks(group, [&](Communicator& c) {
    if (c.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(30));
    c.wait(c.start({&part, 1}, 1, 1));
  });
  EXPECT_GT(group[0]->exposed_nanoseconds(), 15'000'000u);
  EXPECT_LT(group[1]->exposed_nanoseconds(), 15'000'000u);
}

}  // namespace
}  // namespace kraken
