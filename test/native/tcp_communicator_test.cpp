// The communicator suite over TCP, here among threads of one process, and what only that one promises.
#include "comm/tcp/tcp_communicator.h"

#include <sys/socket.h>

#include <barrier>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "comm/tcp/socket.h"
#include "framed_harness.h"

namespace kraken {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using test::CommunicatorSuite;
using test::contains;
using test::failure_of;
using test::FramedGroup;
using test::FramedSuite;

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

// Patient: under a sanitizer on a loaded machine a thread may be away for a second.
FramedGroup make_tcp_group(int ranks, FramedGroupOptions options) {
  options.missed_beats = 50;
  auto peers = connect_all(ranks);
  FramedGroup group;
  for (int rank = 0; rank < ranks; ++rank) {
    group.push_back(make_tcp_communicator(rank, std::move(peers[static_cast<size_t>(rank)]), options));
  }
  return group;
}

INSTANTIATE_TEST_SUITE_P(Tcp, CommunicatorSuite,
                         testing::Values(test::CommunicatorKind{
                             "tcp",
                             [](int ranks, bool communication) {
                               return test::as_group(make_tcp_group(ranks, {.communication = communication}));
                             }}),
                         test::name_of_kind<test::CommunicatorKind>);

INSTANTIATE_TEST_SUITE_P(Tcp, FramedSuite, testing::Values(test::FramedKind{"tcp", make_tcp_group}),
                         test::name_of_kind<test::FramedKind>);

// One rank is played by the test, which holds its socket and says what it likes.
struct Half {
  Half() {
    auto peers = connect_all(2);
    name = peers[0][1].name;
    other = std::move(peers[1][0].socket);
    rank = make_tcp_communicator(0, std::move(peers[0]), {.on_lost = [this](int who) { lost_rank = who; }});
  }
  std::string name;
  Descriptor other;
  std::atomic<int> lost_rank{-1};
  std::unique_ptr<FramedCommunicator> rank;
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

// The kernel says when it came: with beats this far apart, nobody has looked before.
TEST(TcpCommunicator, AnExchangeEndsWhenItsPartsComeWheneverTheyAreTaken) {
#ifndef __linux__
  GTEST_SKIP() << "needs Linux, whose sockets say when something came";
#endif
  FramedGroup group = make_tcp_group(2, {.beat = 60s});
  test::on_all_ranks(group, [&](Communicator& c) {
    const std::vector<float> values(20'000, 1.0f);
    const float* part = values.data();
    const auto from = steady_clock::now();
    const Ticket ticket = c.start({&part, 1}, 1, 20'000);
    std::this_thread::sleep_for(600ms);
    const Exchanged exchanged = c.wait(ticket);
    EXPECT_EQ(test::sum_at(exchanged.sum, 19'999), 2.0f);
    const std::chrono::nanoseconds collective(c.collective_nanoseconds()), exposed(c.exposed_nanoseconds());
    EXPECT_LE(collective, 300ms);
    EXPECT_LE(exposed, 300ms);
    EXPECT_GE(steady_clock::now() - from, 600ms);
  });
}

// … and between two ranks the communication thread sleeps meanwhile: all is done by who starts and waits.
TEST(TcpCommunicator, NobodyIsWokenForWhatIsFetched) {
#ifndef __linux__
  GTEST_SKIP() << "needs Linux, which counts how often a thread sleeps";
#endif
  constexpr int kExchanges = 200;
  FramedGroup group = make_tcp_group(2, {.beat = 60s});
  const auto wake_ups = [] {
    uint64_t all = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream name(task.path() / "comm"), status(task.path() / "status");
      std::string text, line;
      std::getline(name, text);
      while (text == "kraken-comm" && std::getline(status, line)) {
        const std::string label = "voluntary_ctxt_switches:";
        if (line.starts_with(label)) all += std::stoull(line.substr(label.size()));
      }
    }
    return all;
  };
  std::barrier together(2);
  uint64_t before = 0, after = 0;
  test::on_all_ranks(group, [&](Communicator& c) {
    const std::vector<float> values(10'000, 1.0f);
    const float* part = values.data();
    c.barrier();
    together.arrive_and_wait();
    if (c.rank() == 0) before = wake_ups();
    for (int i = 0; i < kExchanges; ++i) {
      const Ticket ticket = c.start({&part, 1}, 1, 10'000);
      together.arrive_and_wait();  // both have sent
      std::this_thread::sleep_for(200us);
      c.wait(ticket);
    }
    together.arrive_and_wait();
    if (c.rank() == 0) after = wake_ups();
  });
  EXPECT_LT(after - before, kExchanges / 2);
}

// Whoever takes what comes also sends on what others wait for: nothing is left until somebody looks again.
TEST(TcpCommunicator, NobodyWaitsForABeat) {
  for (const int ranks : {2, 3, 4}) {
    FramedGroup group = make_tcp_group(ranks, {.beat = 60s});
    const auto from = steady_clock::now();
    test::on_all_ranks(group, [&](Communicator& c) {
      const std::vector<float> values(30'000, 1.0f);
      const float* part = values.data();
      uint32_t random = static_cast<uint32_t>(c.rank()) + 1;
      for (int i = 0; i < 1000; ++i) {
        const Ticket ticket = c.start({&part, 1}, 1, 30'000);
        random = random * 1664525 + 1013904223;
        if (random >> 31 != 0) std::this_thread::sleep_for(std::chrono::microseconds(random >> 22));
        EXPECT_EQ(test::sum_at(c.wait(ticket).sum, 29'999), static_cast<float>(ranks));
      }
    });
    EXPECT_LT(steady_clock::now() - from, 50s) << ranks;
  }
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

}  // namespace
}  // namespace kraken
