// The suite every Communicator must pass. Values are whole numbers whose sums float32 holds exactly.
#include "comm/communicator.h"

#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "base/error.h"
#include "communicator_harness.h"

namespace kraken::test {
namespace {

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
  const auto verify = [&](Ticket ticket, const Exchanged& exchanged) {
    dawdle(random);
    for (int64_t i = 0; i < kRows * kWidth; ++i) {
      float expected = 0;
      for (int part = 0; part < communicator.size() * ways; ++part) {
        expected += payload(ticket, part / ways, part % ways, i);
      }
      if (sum_at(exchanged.sum, i) != expected || sum_at(exchanged.join, i) != expected) ++wrong;
    }
  };
  write(0);
  start(0);
  write(1);
  for (Ticket e = 0; e < static_cast<Ticket>(exchanges); ++e) {
    if (in_flight == 2) {
      start(e + 1);
      dawdle(random);
      const Exchanged now = communicator.wait(e);
      write(e + 2);
      verify(e, now);
    } else {
      const Exchanged now = communicator.wait(e);
      verify(e, now);
      start(e + 1);
      write(e + 2);
      verify(e, now);  // until start(e + 2)
    }
  }
  const auto last = static_cast<Ticket>(exchanges);
  verify(last, communicator.wait(last));
  communicator.barrier();  // others may still read the buffers
}

TEST_P(CommunicatorSuite, SumsInOrderOfTheWaysOnAnyNumberOfRanks) {
  for (int ranks : {1, 2, 3, 4, 8}) {
    for (int in_flight : {1, 2}) {
      for (int ways : {1, 2}) {
        Group group = make_group(ranks);
        std::atomic<int> wrong{0};
        on_all_ranks(group, [&](Communicator& c) { exchange_many(c, ways, in_flight, 400, wrong); });
        EXPECT_EQ(wrong, 0) << ranks << " ranks, " << in_flight << " in flight, " << ways << " ways";
      }
    }
  }
}

// Standard transformers keep a copy of the residual stream on every rank: the copies must not drift apart.
TEST_P(CommunicatorSuite, EveryRankComputesTheSameBits) {
  for (int ranks : {2, 3, 5}) {
    constexpr int64_t kRows = 7, kWidth = 13;
    Group group = make_group(ranks);
    std::vector<std::vector<float>> sums(static_cast<size_t>(ranks));
    on_all_ranks(group, [&](Communicator& c) {
      std::mt19937 random(static_cast<unsigned>(c.rank()));
      std::normal_distribution<float> normal;
      std::vector<float> a(kRows * kWidth), b(kRows * kWidth);
      for (float& x : a) x = normal(random);
      for (float& x : b) x = normal(random) * 1e-3f;
      const float* parts[] = {a.data(), b.data()};
      const Addends addends = c.wait(c.start(parts, kRows, kWidth)).sum;
      for (int64_t i = 0; i < kRows * kWidth; ++i) {
        sums[static_cast<size_t>(c.rank())].push_back(sum_at(addends, i));
      }
      c.barrier();
    });
    for (const auto& sum : sums) EXPECT_EQ(sum, sums[0]) << ranks << " ranks";
  }
}

TEST_P(CommunicatorSuite, RefusesAThirdExchangeInFlightAndWaitsOutOfOrder) {
  Group group = make_group(1);
  const float value = 1;
  const float* part = &value;
  group[0]->start({&part, 1}, 1, 1);
  group[0]->start({&part, 1}, 1, 1);
  EXPECT_THROW(group[0]->start({&part, 1}, 1, 1), Error);
  EXPECT_THROW(group[0]->wait(1), Error);
  EXPECT_EQ(sum_at(group[0]->wait(0).sum, 0), value);
  EXPECT_THROW(group[0]->wait(0), Error);
}

TEST_P(CommunicatorSuite, GathersColumnsOnRankZero) {
  for (int ranks : {1, 2, 3, 5}) {
    Group group = make_group(ranks);
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

TEST_P(CommunicatorSuite, BarriersSeparatePhases) {
  Group group = make_group(4);
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

TEST_P(CommunicatorSuite, GathersAndBarriersMix) {
  Group group = make_group(3);
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

TEST_P(CommunicatorSuite, AllGathersRecordsInTheOrderOfRanks) {
  struct Record {
    int rank, round;
  };
  for (int ranks : {1, 2, 4}) {
    Group group = make_group(ranks);
    std::atomic<int> wrong{0};
    on_all_ranks(group, [&](Communicator& c) {
      std::vector<Record> all(static_cast<size_t>(ranks));
      for (int round = 0; round < 300; ++round) {
        const Record mine{c.rank(), round};
        c.all_gather(&mine, all.data(), sizeof mine);
        for (int rank = 0; rank < ranks; ++rank) {
          const Record& record = all[static_cast<size_t>(rank)];
          if (record.rank != rank || record.round != round) ++wrong;
        }
        if (round % 7 == 0) c.all_gather(nullptr, nullptr, 0);
        if (round % 50 == 0) c.barrier();
      }
    });
    EXPECT_EQ(wrong, 0);
  }
}

TEST_P(CommunicatorSuite, AbortEndsPresentAndFutureWaits) {
  for (int kind = 0; kind < 4; ++kind) {
    Group group = make_group(3);
    std::atomic<int> ended{0};
    const float value = 1;
    const float* part = &value;
    std::vector<float> full(3);
    const auto block = [&](Communicator& c) {
      if (kind == 0) c.wait(c.start({&part, 1}, 1, 1));
      if (kind == 1) c.barrier();
      if (kind == 2) c.gather_columns(&value, 1, 1, c.rank(), full.data(), 3);
      if (kind == 3) c.all_gather(&value, std::vector<float>(3).data(), sizeof value);
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
    EXPECT_FALSE(group[0]->is_lost() || group[2]->is_lost());
    group[2]->abort("cable pulled");
    group[2]->abort("a later reason");
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(ended, kind == 0 ? 2 : 4);
    EXPECT_TRUE(group[0]->is_lost() && group[2]->is_lost());
    EXPECT_THROW(group[2]->barrier(), Error);
  }
}

TEST_P(CommunicatorSuite, WithoutCommunicationEachRankSeesItsOwnParts) {
  Group group = make_group(2, false);
  const float a = 1, b = 2;
  const float* parts[] = {&a, &b};
  for (int round = 0; round < 10; ++round) {  // one rank alone: nothing waits for the other
    const Exchanged exchanged = group[0]->wait(group[0]->start(parts, 1, 1));
    for (const Addends& addends : {exchanged.sum, exchanged.join}) {
      ASSERT_EQ(addends.float32.size(), 2u);
      EXPECT_EQ(addends.float32[0], &a);
      EXPECT_EQ(addends.float32[1], &b);
      EXPECT_TRUE(addends.bfloat16.empty());
    }
  }
  std::vector<float> full(2);
  on_all_ranks(group, [&](Communicator& c) {
    const float value = static_cast<float>(c.rank() + 7);
    c.gather_columns(&value, 1, 1, c.rank(), full.data(), 2);
    c.barrier();
  });
  EXPECT_EQ(full[1], 8.0f);
}

TEST_P(CommunicatorSuite, CountsOnlyTheTimeItWaits) {
  Group group = make_group(2);
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
}  // namespace kraken::test
