// A group of NCCL's that is not made, or does not stay whole: bounded waits, errors with a reason, nothing
// left.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "fake_nccl.h"
#include "layers.h"

namespace kraken::plugins {
namespace {

using fake_nccl::Fault;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int64_t kTimeoutMilliseconds = 20;

kraken_communicator_options options_for(int32_t transport) {
  kraken_communicator_options options{};
  options.capacity = 1 << 10;
  options.transport = transport;
  options.algorithms = "* * * nccl *\n";
  options.timeout_nanoseconds = kTimeoutMilliseconds * 1000 * 1000;
  return options;
}

class Nccl : public testing::TestWithParam<int32_t> {
 protected:
  void SetUp() override { fake_cuda::set_devices(2, true); }
  void TearDown() override {
    fake_cuda::set_devices(1, true);
    EXPECT_EQ(fake_nccl::alive(), 0);
    fake_nccl::set(Fault::None);
  }
};

TEST_P(Nccl, SetsUpWithoutBlocking) {
  fake_nccl::set(Fault::None);
  {
    Group group(2, options_for(GetParam()), {0, 1});
    ASSERT_NE(group.communicator(0), nullptr) << group.error(0);
    KrakenLayers layers(group, {2, 1, 3, 5}, 3);
    layers.enqueue(0, 3);
    fake_cuda::run(4);
    EXPECT_LT(layers.worst_error(), 1e-5);
    EXPECT_EQ(kraken_communicator_status(group.communicator(0)), 0);
  }
  EXPECT_EQ(fake_nccl::aborted(), 0);
}

TEST_P(Nccl, ASetUpThatHangsIsGivenUp) {
  fake_nccl::set(Fault::Hangs);
  const int64_t before = fake_cuda::live_objects();
  const auto begin = steady_clock::now();
  {
    const Group group(2, options_for(GetParam()), {0, 1});
    for (int32_t rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(group.communicator(rank), nullptr);
      EXPECT_EQ(group.error(rank),
                "kraken: communicator: NCCL set-up took longer than 120 ms: a rank did not come");
    }
  }
  EXPECT_GE(steady_clock::now() - begin, milliseconds(6 * kTimeoutMilliseconds));
  EXPECT_LT(steady_clock::now() - begin, milliseconds(5000));
  EXPECT_EQ(fake_nccl::aborted(), 2);
  EXPECT_EQ(fake_cuda::live_objects(), before);
}

// Who watches the ranks knows sooner than the bound.
TEST_P(Nccl, ASetUpWithoutAGroupEndsAtOnce) {
  fake_nccl::set(Fault::Hangs);
  kraken_communicator_options options = options_for(GetParam());
  options.timeout_nanoseconds = uint64_t{60} * 1000 * 1000 * 1000;
  options.is_lost = [](void*) { return int32_t{1}; };
  const auto begin = steady_clock::now();
  {
    const Group group(2, options, {0, 1});
    for (int32_t rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(group.communicator(rank), nullptr);
      EXPECT_EQ(group.error(rank), "kraken: communicator: NCCL set-up was given up: a rank was lost");
    }
  }
  EXPECT_LT(steady_clock::now() - begin, milliseconds(5000));
  EXPECT_EQ(fake_nccl::aborted(), 2);
}

TEST_P(Nccl, ASetUpThatFailsSaysWhy) {
  for (const Fault fault : {Fault::RefusesSetUp, Fault::FailsLater}) {
    fake_nccl::set(fault);
    const Group group(2, options_for(GetParam()), {0, 1});
    for (int32_t rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(group.communicator(rank), nullptr);
      EXPECT_EQ(group.error(rank), "kraken: communicator: NCCL set-up failed: fake error");
    }
    EXPECT_EQ(fake_nccl::aborted(), fault == Fault::RefusesSetUp ? 0 : 2);
  }
}

// A collective whose connections never come to be: NCCL would keep the host.
TEST_P(Nccl, ACollectiveThatHangsIsAnError) {
  fake_nccl::set(Fault::None);
  {
    const Group group(2, options_for(GetParam()), {0, 1});
    const auto plugin = group.attach(0, "AllReduce", {});
    fake_nccl::set(Fault::Hangs);
    Matrix x(8, 1.0f);
    EXPECT_NE(PluginCall().input(x.data(), {8}).output(x.data(), {8}).run(*plugin, group.stream(0)), 0);
    EXPECT_STREQ(kraken_plugins_last_error(),
                 "kraken: AllReduce: NCCL all-reduce took longer than 20 ms: a rank did not come");
    fake_nccl::set(Fault::None);
    kraken_communicator_abort(group.communicator(0), 1);
  }
  EXPECT_EQ(fake_nccl::aborted(), 1);
}

// Found by NCCL itself, or told by who watches the ranks: from then on nothing is begun, and the group is
// aborted, not destroyed, as that would wait for the one who is gone.
TEST_P(Nccl, ALostRankAbortsTheGroup) {
  fake_nccl::set(Fault::None);
  {
    const Group group(2, options_for(GetParam()), {0, 1});
    fake_nccl::set(Fault::FailsLater);
    EXPECT_NE(kraken_communicator_status(group.communicator(0)), 0);
    EXPECT_STREQ(kraken_plugins_last_error(), "kraken: NCCL lost the group: fake error");
  }
  EXPECT_EQ(fake_nccl::aborted(), 2);

  fake_nccl::set(Fault::None);
  {
    const Group group(2, options_for(GetParam()), {0, 1});
    kraken_communicator_abort(group.communicator(0), 1);
    EXPECT_NE(kraken_communicator_status(group.communicator(0)), 0);
    const std::string said = kraken_plugins_last_error();
    EXPECT_TRUE(said.starts_with("kraken: rank 1 ")) << said;
    const auto plugin = group.attach(0, "AllReduce", {});
    Matrix x(8, 1.0f);
    EXPECT_NE(PluginCall().input(x.data(), {8}).output(x.data(), {8}).run(*plugin, group.stream(0)), 0);
    kraken_communicator_abort(group.communicator(0), 1);  // again changes nothing
  }
  EXPECT_EQ(fake_nccl::aborted(), 1);
}

// NCCL's abort waits for the graphs that captured it, which whoever aborts is yet to give back.
TEST_P(Nccl, AnAbortDoesNotWaitForCapturedGraphs) {
  fake_nccl::set(Fault::None);
  {
    const Group group(2, options_for(GetParam()), {0, 1});
    fake_nccl::hold_aborts(true);
    const std::jthread gives_back([] {
      std::this_thread::sleep_for(milliseconds(500));
      fake_nccl::hold_aborts(false);
    });
    const auto begin = steady_clock::now();
    kraken_communicator_abort(group.communicator(0), 1);
    EXPECT_LT(steady_clock::now() - begin, milliseconds(400));
    EXPECT_NE(kraken_communicator_status(group.communicator(0)), 0);
  }
  EXPECT_EQ(fake_nccl::aborted(), 1);
}

TEST(NcclOnASharedDevice, IsNotTried) {
  kraken_communicator_options options = options_for(KRAKEN_TRANSPORT_AUTO);
  const Group group(2, options, {0, 0});
  EXPECT_STREQ(kraken_communicator_transport(group.communicator(0)), "peer memory");
  options.transport = KRAKEN_TRANSPORT_NCCL;
  const Group refused(2, options, {0, 0});
  EXPECT_EQ(refused.error(1),
            "kraken: communicator: NCCL cannot be used: it wants a GPU for each rank, and ranks share one");
}

INSTANTIATE_TEST_SUITE_P(Transports, Nccl, testing::Values(KRAKEN_TRANSPORT_AUTO, KRAKEN_TRANSPORT_NCCL),
                         [](const auto& info) {
                           return info.param == KRAKEN_TRANSPORT_NCCL ? "Alone" : "BesidePeerMemory";
                         });

}  // namespace
}  // namespace kraken::plugins
