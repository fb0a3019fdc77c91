// Multicast memory: made where all ranks can, undone by all where one of them fails, and what then runs
// instead.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "common/error.h"
#include "communicator/descriptor_channel.h"
#include "fake_driver.h"
#include "layers.h"

namespace kraken::plugins {
namespace {

kraken_communicator_options options_for(const char* algorithms) {
  kraken_communicator_options options{};
  options.capacity = 1 << 12;
  options.algorithms = algorithms;
  options.transport = KRAKEN_TRANSPORT_PEER;
  return options;
}
constexpr const char* kMultimemFirst = "* * * multimem 4\n* * * two-shot 4\n";

class Multicast : public testing::Test {
 protected:
  void SetUp() override {
    fake_cuda::set_devices(4, true);
    fake_driver::set_multicast(true);
  }
  void TearDown() override {
    fake_cuda::set_devices(1, true);
    fake_driver::set_multicast(false);
    fake_driver::fail("", 0);
    EXPECT_EQ(fake_driver::live_objects(), 0);
  }

  static std::string transport(const Group& group, int32_t rank) {
    if (group.communicator(rank) == nullptr) return group.error(rank);
    return kraken_communicator_transport(group.communicator(rank));
  }
  // Sums of a group are right, whatever they travel over.
  static void expect_sums(Group& group, int32_t ranks) {
    KrakenLayers layers(group, {ranks, 1, 4, 5}, 4);
    for (int64_t step = 0; step < 2; ++step) layers.enqueue(step, 4);
    fake_cuda::run(7);
    EXPECT_LT(layers.worst_error(), 1e-5);
  }
  static std::ptrdiff_t open_files() {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return std::distance(begin(files), end(files));
  }
};

TEST_F(Multicast, IsUsedWhereEveryRankHasADeviceWithIt) {
  for (const int32_t ranks : {2, 4}) {
    std::vector<int> devices;
    for (int32_t rank = 0; rank < ranks; ++rank) devices.push_back(rank);
    const int64_t before = fake_cuda::counters().multimem_launches;
    Group group(ranks, options_for(kMultimemFirst), devices);
    for (int32_t rank = 0; rank < ranks; ++rank) EXPECT_EQ(transport(group, rank), "multicast peer memory");
    expect_sums(group, ranks);
    EXPECT_EQ(fake_cuda::counters().multimem_launches - before, 2 * ranks * (4 + 1));
  }
}

TEST_F(Multicast, FallsBackWhereItCannotBe) {
  const auto expect_plain = [](const char* algorithms, std::vector<int> devices) {
    const int64_t before = fake_cuda::counters().multimem_launches;
    Group group(2, options_for(algorithms), std::move(devices));
    EXPECT_EQ(transport(group, 0), "peer memory");
    EXPECT_EQ(fake_driver::live_objects(), 0);
    expect_sums(group, 2);
    EXPECT_EQ(fake_cuda::counters().multimem_launches, before);
  };
  expect_plain("* * * two-shot 4\n", {0, 1});  // nobody asked
  expect_plain(kMultimemFirst, {0, 0});        // ranks share a device
  fake_driver::set_multicast(false);
  expect_plain(kMultimemFirst, {0, 1});  // the device has none
}

// Every call that either rank makes, one after another: both ranks undo what they have and go on without.
TEST_F(Multicast, AFailureAtAnyStepUnwindsOnAllRanks) {
  const std::ptrdiff_t files = open_files();
  constexpr const char* kCalls[] = {"cuDeviceGet",
                                    "cuDeviceGetUuid_v2",
                                    "cuDeviceGetAttribute",
                                    "cuMemGetAllocationGranularity",
                                    "cuMulticastGetGranularity",
                                    "cuMulticastCreate",
                                    "cuMemCreate",
                                    "cuMulticastAddDevice",
                                    "cuMulticastBindMem",
                                    "cuMemAddressReserve",
                                    "cuMemMap",
                                    "cuMemSetAccess"};
  for (const char* name : kCalls) {
    int failures = 0;
    for (;; ++failures) {
      fake_driver::fail(name, failures);
      Group group(2, options_for(kMultimemFirst), {0, 1});
      if (!fake_driver::has_failed()) {
        EXPECT_EQ(transport(group, 0), "multicast peer memory") << name;
        break;
      }
      for (int32_t rank = 0; rank < 2; ++rank) EXPECT_EQ(transport(group, rank), "peer memory") << name;
      EXPECT_EQ(fake_driver::live_objects(), 0) << name << " " << failures;
      expect_sums(group, 2);
    }
    EXPECT_GE(failures, 1) << name << " was never called";
    fake_driver::fail("", 0);
  }
  EXPECT_EQ(open_files(), files);
}

// Between two processes, as communicators of ranks that are processes use it.
TEST(DescriptorChannel, PassesMemoryBetweenProcesses) {
  DescriptorChannel mine, other;
  const Descriptor memory(memfd_create("test", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(memory.get(), 4096), 0);
  const pid_t child = fork();
  if (child == 0) {
    const Descriptor own(memfd_create("child", MFD_CLOEXEC));
    const bool written = write(own.get(), "from rank 3", 12) == 12;
    // First under a wrong token, then as another rank, then what is waited for.
    DescriptorChannel::Address wrong = mine.address();
    wrong.token[0] ^= 1;
    other.send(wrong, 3, memory);
    other.send(mine.address(), 2, memory);
    other.send(mine.address(), 3, own);
    _exit(written ? 0 : 1);
  }
  const Descriptor received = mine.receive(3);
  char text[12] = {};
  EXPECT_EQ(pread(received.get(), text, sizeof text, 0), 12);
  EXPECT_STREQ(text, "from rank 3");
  EXPECT_EQ(lseek(mine.receive(2).get(), 0, SEEK_END), 4096);
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(DescriptorChannel, DoesNotWaitForEver) {
  DescriptorChannel channel;
  EXPECT_THROW(channel.receive(0), PluginError);
  DescriptorChannel::Address nobody = channel.address();
  nobody.name[0] ^= 1;
  EXPECT_THROW(channel.send(nobody, 0, Descriptor(memfd_create("test", MFD_CLOEXEC))), PluginError);
}

}  // namespace
}  // namespace kraken::plugins
