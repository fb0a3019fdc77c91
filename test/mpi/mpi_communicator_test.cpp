// The communicator suites over MPI. Every process is one rank and runs all tests; a group of fewer ranks than
// there are processes is of the first ones, and the others go on to the next test.
#include "comm/mpi/mpi_communicator.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <new>

#include "comm/mpi/mpi_world.h"
#include "framed_harness.h"

namespace kraken {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using test::contains;
using test::failure_of;
using test::FramedGroup;

const MpiWorld* world = nullptr;

// A page of rank 0's: all processes run on one machine.
struct Page {
  test::SharedMemory memory;
  std::atomic<int> victim{0};  // a process
};
Page* page = nullptr;

MpiChannel next_channel() {
  static int number = 0;  // counts alike everywhere, as all processes run the same tests
  return {world->communicator(), 2 * number++};
}

FramedGroup make_group(int ranks, FramedGroupOptions options) {
  const MpiChannel channel = next_channel();
  FramedGroup group;
  if (world->rank() >= ranks) return group;
  const std::vector<std::string> names(world->hosts().begin(), world->hosts().begin() + ranks);
  group.push_back(make_mpi_communicator(world->rank(), names, channel, options));
  return group;
}

// Patient: more processes than cores.
FramedGroup make_patient_group(int ranks, FramedGroupOptions options) {
  options.missed_beats = 50;
  return make_group(ranks, options);
}

test::SharedMemory& shared() {
  return page->memory;
}

class MpiEnvironment {
 public:
  MpiEnvironment(int* argc, char*** argv) : world_(argc, argv) {
    world = &world_;
    void* base = nullptr;
    MPI_Win_allocate_shared(world_.rank() == 0 ? sizeof(Page) : 0, 1, MPI_INFO_NULL, world_.communicator(),
                            &base, &window_);
    MPI_Aint size = 0;
    int unit = 0;
    MPI_Win_shared_query(window_, 0, &size, &unit, &base);
    page = world_.rank() == 0 ? new (base) Page : static_cast<Page*>(base);
    MPI_Barrier(world_.communicator());
  }
  ~MpiEnvironment() {
    page = nullptr;
    MPI_Win_free(&window_);
  }

 private:
  MpiWorld world_;
  MPI_Win window_ = MPI_WIN_NULL;
};

TEST(MpiCommunicator, AStoppedRankIsNoticedWithinASecondAndItsHostNamed) {
  for (auto& c : make_group(2, {})) {
    if (c->rank() == 1) page->victim = getpid();
    c->barrier();
    if (c->rank() == 1) raise(SIGSTOP);  // until rank 0 lets it go on
    const auto from = steady_clock::now();
    const std::string failure = failure_of([&] {
      for (;;) c->barrier();
    });
    const auto took = steady_clock::now() - from;
    EXPECT_TRUE(contains(failure, "ERR_RANK_LOST")) << failure;
    if (c->rank() == 1) continue;
    EXPECT_TRUE(contains(failure, "no sign of life") && contains(failure, world->hosts()[1])) << failure;
    EXPECT_GE(took, 500ms);
    EXPECT_LE(took, 1s + 500ms);  // and what a loaded machine takes to run a thread
    kill(page->victim, SIGCONT);
  }
}

// One rank is played by the test, which sends what it likes.
class Impostor {
 public:
  explicit Impostor(const MpiChannel& channel) : channel_(channel) {}
  void send(const void* bytes, size_t count, int tag = 0) const {
    MPI_Send(bytes, static_cast<int>(count), MPI_BYTE, 0, channel_.tag + tag, channel_.communicator);
  }

 private:
  const MpiChannel channel_;
};

std::unique_ptr<FramedCommunicator> rank_zero(const MpiChannel& channel, const FramedGroupOptions& options) {
  return make_mpi_communicator(0, {world->hosts()[0], world->hosts()[1]}, channel, options);
}

TEST(MpiCommunicator, WhatCannotBeEndsTheGroup) {
  const auto message = [](FrameHeader header, size_t payload) {
    std::vector<uint8_t> bytes(sizeof header + payload);
    std::memcpy(bytes.data(), &header, sizeof header);
    return bytes;
  };
  const std::vector<std::vector<uint8_t>> cases{std::vector<uint8_t>(3),
                                                message({static_cast<FrameKind>(99), 0, 0, 0}, 0),
                                                message({FrameKind::Beat, 7, 0, 0}, 0),
                                                message({FrameKind::Message, 0, 8, 0}, 4),
                                                message({FrameKind::Message, 0, 1 << 20, 0}, 4),
                                                message({FrameKind::Message, 0, 0xffffffff, 0}, 0),
                                                message({FrameKind::Part, 0, 4, 9}, 4),
                                                message({FrameKind::Arrived, 0, 0, 3}, 0),
                                                message({FrameKind::Released, 0, 0, 0}, 0)};
  for (size_t i = 0; i < cases.size(); ++i) {
    const MpiChannel channel = next_channel();
    if (world->rank() == 1) {
      const Impostor impostor(channel);
      impostor.send(cases[i].data(), cases[i].size());
      impostor.send(nullptr, 0);  // or it would be waited for
    } else if (world->rank() == 0) {
      const auto c = rank_zero(channel, {});
      const std::string failure = failure_of([&] { c->barrier(); });
      EXPECT_TRUE(contains(failure, "ERR_RANK_LOST") && contains(failure, "cannot be"))
          << "case " << i << ": " << failure;
    }
  }
}

TEST(MpiCommunicator, APayloadThatTakesLongIsNoSilence) {
  const MpiChannel channel = next_channel();
  std::vector<uint8_t> payload(1 << 20, 7);
  if (world->rank() == 1) {
    const Impostor impostor(channel);
    const FrameHeader header{FrameKind::Message, 0, static_cast<uint32_t>(payload.size()), 0};
    impostor.send(&header, sizeof header);
    for (int i = 0; i < 40; ++i) {
      impostor.send(nullptr, 0, 1);
      std::this_thread::sleep_for(25ms);
    }
    impostor.send(payload.data(), payload.size());
    impostor.send(nullptr, 0);
  } else if (world->rank() == 0) {
    const auto c = rank_zero(channel, {.beat = 100ms, .missed_beats = 4});
    EXPECT_EQ(c->receive(1), payload);
  }
}

}  // namespace

namespace test {

// Evaluated when main() registers them: then it is known how many processes there are.
INSTANTIATE_TEST_SUITE_P(Mpi, CommunicatorSuite,
                         testing::Values(CommunicatorKind{"mpi",
                                                          [](int ranks, bool communication) {
                                                            return as_group(make_patient_group(
                                                                ranks, {.communication = communication}));
                                                          },
                                                          shared, world->size()}),
                         name_of_kind<CommunicatorKind>);
INSTANTIATE_TEST_SUITE_P(Mpi, FramedSuite,
                         testing::Values(FramedKind{"mpi", make_patient_group, world->size()}),
                         name_of_kind<FramedKind>);

}  // namespace test
}  // namespace kraken

int main(int argc, char** argv) {
  kraken::MpiEnvironment environment(&argc, &argv);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
