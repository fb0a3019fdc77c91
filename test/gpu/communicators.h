// Ranks as an engine has them: a thread, a device, a stream and a communicator each, made the way
// kraken_communicator_create() makes them. With fewer GPUs than ranks, ranks share one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "algorithm.h"
#include "communicator/communicator.h"
#include "communicator/side_stream.h"
#include "meeting.h"
#include "values.h"

namespace kraken::test {

struct CommunicatorOptions {
  std::string algorithms;     // text of a table; "": the built-in one
  bool may_use_nccl = false;  // which wants a GPU for each rank
  int64_t capacity = 1 << 20;
  uint64_t timeout_ns = uint64_t{20} * 1000 * 1000 * 1000;
  plugins::Stalls stalls;
};

// A table in which there is one algorithm, as far as it can serve everything.
std::string table_of(kernels::Algorithm algorithm, int32_t blocks);
// "two-shot, 8 blocks"
std::string describe(const kernels::Choice& choice);
// Why this group cannot run the algorithm; empty when it can.
std::string obstacle(kernels::Algorithm algorithm, const std::string& transport);

// Throws std::runtime_error. `all_gather` as in kraken_plugins.h.
using AllGather = std::function<int32_t(const void* mine, void* all, int64_t bytes)>;
std::unique_ptr<plugins::DeviceCommunicator> make_communicator(int rank, int ranks,
                                                               const CommunicatorOptions& options,
                                                               AllGather all_gather);

// Of those that ranks are dealt to.
int device_count();
int device_of(int rank);

class CommunicatorGroup {
 public:
  CommunicatorGroup(int ranks, const CommunicatorOptions& options);
  ~CommunicatorGroup();
  CommunicatorGroup(const CommunicatorGroup&) = delete;
  CommunicatorGroup& operator=(const CommunicatorGroup&) = delete;

  int ranks() const { return static_cast<int>(members_.size()); }
  plugins::DeviceCommunicator& communicator(int rank) {
    return *members_[static_cast<size_t>(rank)].communicator;
  }
  cudaStream_t stream(int rank) const { return members_[static_cast<size_t>(rank)].stream; }
  std::string transport() const { return members_[0].communicator->transport(); }
  // Of the first rank that has one; empty: none has.
  std::string failure() const;

  // body(rank) on a thread each, then waits for the streams. Memory is best allocated in a run() of its own:
  // a rank that allocates while others wait for its kernels may wait for them. The first exception is thrown
  // again.
  void run(const std::function<void(int)>& body);
  // Of the ranks' threads, inside run().
  void meet() { meeting_.wait(); }

 private:
  struct Member {
    std::unique_ptr<plugins::DeviceCommunicator> communicator;
    cudaStream_t stream = nullptr;
  };
  std::vector<Member> members_;
  Meeting meeting_;
};

}  // namespace kraken::test
