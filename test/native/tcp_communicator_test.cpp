// The communicator suite over TCP, here among threads of one process, and what only that one promises.
#include "comm/tcp/tcp_communicator.h"

#include <sys/socket.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "comm/tcp/socket.h"
#include "communicator_harness.h"

namespace kraken {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using test::CommunicatorSuite;
using test::Group;
using test::on_all_ranks;

std::vector<std::vector<TcpPeer>> connect_all(int ranks) {
  std::vector<std::vector<TcpPeer>> peers(static_cast<size_t>(ranks));
  for (auto& row : peers) row.resize(static_cast<size_t>(ranks));
  const auto deadline = steady_clock::now() + 10s;
  for (size_t a = 0; a < peers.size(); ++a) {
    const Listener listener = listen_on("127.0.0.1");
    for (size_t b = a + 1; b < peers.size(); ++b) {
      const std::string name = endpoint("127.0.0.1", listener.port);
      peers[b][a] = {connect_to("127.0.0.1", listener.port, deadline), name};
      peers[a][b] = {std::move(accept_from(listener, deadline).value().socket), name};
    }
  }
  return peers;
}

std::unique_ptr<TcpCommunicator> make_rank(std::vector<std::vector<TcpPeer>>& peers, int rank,
                                           const TcpGroupOptions& options = {}) {
  return std::make_unique<TcpCommunicator>(rank, std::move(peers[static_cast<size_t>(rank)]), options);
}

// Patient: under a sanitizer on a loaded machine a thread may be away for a second.
Group make_tcp_group(int ranks, TcpGroupOptions options) {
  options.missed_beats = 50;
  auto peers = connect_all(ranks);
  Group group;
  for (int rank = 0; rank < ranks; ++rank) group.push_back(make_rank(peers, rank, options));
  return group;
}

INSTANTIATE_TEST_SUITE_P(Tcp, CommunicatorSuite,
                         testing::Values(test::CommunicatorKind{
                             "tcp",
                             [](int ranks, bool communication) {
                               return make_tcp_group(ranks, {.communication = communication});
                             }}),
                         [](const auto& info) { return std::string(info.param.name); });

std::vector<float> normal_values(int seed, size_t count) {
  std::mt19937 random(static_cast<unsigned>(seed));
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(TcpCommunicator, BFloat16OnTheWireRoundsOnceAndAlikeOnEveryRank) {
  constexpr int64_t kRows = 33, kWidth = 17;
  for (int ranks : {2, 3, 4}) {
    Group group = make_tcp_group(ranks, {.wire = WireFormat::BFloat16});
    std::vector<std::vector<float>> sums(static_cast<size_t>(ranks));
    on_all_ranks(group, [&](Communicator& c) {
      const auto a = normal_values(c.rank(), kRows * kWidth),
                 b = normal_values(c.rank() + 100, kRows * kWidth);
      const float* parts[] = {a.data(), b.data()};
      const Exchanged exchanged = c.wait(c.start(parts, kRows, kWidth));
      for (int64_t i = 0; i < kRows * kWidth; ++i) {
        sums[static_cast<size_t>(c.rank())].push_back(test::sum_at(exchanged.sum, i));
      }
      if (ranks == 2) {  // what is joined has the own parts as they were
        const auto own = exchanged.join.float32;
        EXPECT_EQ(std::vector(own.begin(), own.end()), std::vector<const float*>({a.data(), b.data()}));
        EXPECT_EQ(exchanged.join.bfloat16.size(), 1u);
      }
      c.barrier();
    });
    double error = 0, norm = 0;
    for (size_t i = 0; i < sums[0].size(); ++i) {
      double exact = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        exact += normal_values(rank, sums[0].size())[i] + normal_values(rank + 100, sums[0].size())[i];
      }
      error += std::pow(sums[0][i] - exact, 2);
      norm += exact * exact;
    }
    for (const auto& sum : sums) EXPECT_EQ(sum, sums[0]) << ranks << " ranks";
    EXPECT_LT(std::sqrt(error / norm), 3e-3) << ranks << " ranks";  // bfloat16's unit roundoff is 3.9e-3
    EXPECT_GT(error, 0);
  }
}

TEST(TcpCommunicator, MovesMoreThanTheSocketsHoldBothWaysAtOnce) {
  constexpr int64_t kRows = 1024, kWidth = 3000;  // 12 MB
  for (int ranks : {2, 3}) {
    Group group = make_tcp_group(ranks, {});
    on_all_ranks(group, [&](Communicator& c) {
      const std::vector<float> mine(kRows * kWidth, static_cast<float>(c.rank() + 1));
      const float* parts[] = {mine.data()};
      const Ticket first = c.start(parts, kRows, kWidth), second = c.start(parts, kRows, kWidth);
      for (const Ticket ticket : {first, second}) {
        const Addends addends = c.wait(ticket).sum;
        for (const int64_t i : {int64_t{0}, kRows * kWidth / 2, kRows * kWidth - 1}) {
          EXPECT_EQ(test::sum_at(addends, i), static_cast<float>(ranks * (ranks + 1) / 2));
        }
      }
      c.barrier();
    });
  }
}

std::string failure_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code() + ": " + error.what();
  }
  return "nothing";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// One rank is played by the test, which holds its socket and says what it likes.
struct Half {
  Half() {
    auto peers = connect_all(2);
    name = peers[0][1].name;
    other = std::move(peers[1][0].socket);
    rank = make_rank(peers, 0, {.on_lost = [this](int who) { lost_rank = who; }});
  }
  std::string name;
  Descriptor other;
  std::atomic<int> lost_rank{-1};
  std::unique_ptr<TcpCommunicator> rank;
};

TEST(TcpCommunicator, SilenceIsNoticedWithinASecondAndTheHostNamed) {
  Half half;
  const auto from = steady_clock::now();
  const std::string failure = failure_of([&] { half.rank->barrier(); });
  const auto took = steady_clock::now() - from;
  EXPECT_TRUE(contains(failure, "ERR_RANK_LOST") && contains(failure, half.name) &&
              contains(failure, "no sign of life"))
      << failure;
  EXPECT_GE(took, 500ms);
  EXPECT_LE(took, 1s + 500ms);  // and what a loaded machine takes to run a thread
  for (int i = 0; i < 2000 && half.lost_rank < 0; ++i) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(half.lost_rank, 1);
}

TEST(TcpCommunicator, AClosedConnectionEndsThePresentWaitAtOnce) {
  Half half;
  const float value = 1;
  const float* parts[] = {&value};
  std::thread closer([&] {
    std::this_thread::sleep_for(50ms);
    half.other = Descriptor();
  });
  const auto from = steady_clock::now();
  const std::string failure = failure_of([&] { half.rank->wait(half.rank->start(parts, 1, 1)); });
  EXPECT_LE(steady_clock::now() - from, 550ms);
  closer.join();
  EXPECT_TRUE(contains(failure, "ERR_RANK_LOST") && contains(failure, half.name)) << failure;
}

TEST(TcpCommunicator, WhatCannotBeEndsTheGroup) {
  const auto frame = [](FrameHeader header) {
    std::vector<uint8_t> bytes(sizeof header + std::min<uint32_t>(header.bytes, 64));
    std::memcpy(bytes.data(), &header, sizeof header);
    return bytes;
  };
  const std::vector<std::vector<uint8_t>> cases{frame({static_cast<FrameKind>(99), 0, 0, 0}),
                                                frame({FrameKind::Beat, 7, 0, 0}),
                                                frame({FrameKind::Part, 0, 4, 9}),
                                                frame({FrameKind::Part, 0, 0xffffffff, 0}),
                                                frame({FrameKind::Sum, 0, 4, 0}),
                                                frame({FrameKind::Arrived, 0, 0, 3}),
                                                frame({FrameKind::Released, 0, 0, 0}),
                                                frame({FrameKind::Beat, 0, 4, 0})};
  for (size_t i = 0; i < cases.size(); ++i) {
    Half half;
    ASSERT_EQ(send(half.other.get(), cases[i].data(), cases[i].size(), 0),
              static_cast<ssize_t>(cases[i].size()));
    const std::string failure = failure_of([&] { half.rank->barrier(); });
    EXPECT_TRUE(contains(failure, "cannot be")) << "case " << i << ": " << failure;
    half.other = Descriptor();  // or it would be waited for
  }
}

TEST(TcpCommunicator, RanksThatExchangeDifferentSizesAreOutOfStep) {
  Group group = make_tcp_group(2, {});
  on_all_ranks(group, [&](Communicator& c) {
    const std::vector<float> mine(8);
    const float* parts[] = {mine.data()};
    const std::string failure = failure_of([&] {
      c.wait(c.start(parts, 1, c.rank() + 1));
      c.barrier();
    });
    EXPECT_TRUE(contains(failure, "ERR_RANK_LOST")) << failure;
  });
}

TEST(TcpCommunicator, WhoLeavesHasDeliveredEverythingAndFailsOnlyThoseWhoNeedMore) {
  auto peers = connect_all(2);
  auto stays = make_rank(peers, 0), leaves = make_rank(peers, 1);
  const std::vector<float> values(1 << 20, 2.0f);
  const float* parts[] = {values.data()};
  leaves->start(parts, 1 << 10, 1 << 10);
  leaves->post(0, {1});
  leaves->post(0, {2, 3});
  leaves.reset();
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(test::sum_at(stays->wait(stays->start(parts, 1 << 10, 1 << 10)).sum, (1 << 20) - 1), 4.0f);
  EXPECT_EQ(stays->receive(1), std::vector<uint8_t>{1});
  EXPECT_EQ(stays->receive(1), (std::vector<uint8_t>{2, 3}));
  EXPECT_EQ(stays->receive(1), std::nullopt);
  const std::string failure = failure_of([&] { stays->wait(stays->start(parts, 1, 1)); });
  EXPECT_TRUE(contains(failure, "ERR_RANK_LOST") && contains(failure, "has left")) << failure;
}

TEST(TcpCommunicator, MessagesPassBesideCollectivesInOrder) {
  auto peers = connect_all(3);
  std::vector<std::unique_ptr<TcpCommunicator>> ranks;
  for (int rank = 0; rank < 3; ++rank) ranks.push_back(make_rank(peers, rank));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 3; ++rank) {
    threads.emplace_back([&, rank] {
      TcpCommunicator& own = *ranks[static_cast<size_t>(rank)];
      for (uint8_t round = 0; round < 200; ++round) {
        if (rank == 0) {
          for (int other : {1, 2}) own.post(other, std::vector<uint8_t>(size_t{round} * 100, round));
        } else {
          EXPECT_EQ(own.receive(0), std::vector<uint8_t>(size_t{round} * 100, round));
        }
        const float value = round;
        const float* parts[] = {&value};
        EXPECT_EQ(test::sum_at(own.wait(own.start(parts, 1, 1)).sum, 0), 3.0f * round);
      }
      own.barrier();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace kraken
