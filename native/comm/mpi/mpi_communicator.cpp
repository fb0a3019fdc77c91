#include "comm/mpi/mpi_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace kraken {
namespace {

using namespace std::chrono_literals;
using std::chrono::microseconds;
using std::chrono::steady_clock;

constexpr auto kSettle = 20ms;
constexpr int kShareOfQuiet = 16;

struct Pause {
  microseconds least, most;
};
Pause pause_of(Urgency urgency) {
  switch (urgency) {
    case Urgency::Waited:
      return {5us, 50us};
    case Urgency::Hidden:
      return {50us, 100us};
    case Urgency::Idle:
      return {50us, 2000us};
    case Urgency::None:
      return {50us, 20'000us};
  }
  return {};
}

// Of the calling thread: sleeps end when they should, and then it gets its core back from a thread that
// computes at once, instead of when that one's slice ends. What a kernel does not know it refuses, and
// everything works all the same.
void sleep_precisely() {
#ifdef __linux__
  prctl(PR_SET_TIMERSLACK, 1000ul);  // nanoseconds; the system's own 50 µs would be most of a sleep
#ifdef SYS_sched_setattr
  // Linux 6.12 and later: `runtime` is the slice of an ordinary thread (sched_setattr(2)).
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes{sizeof attributes, 0, 0, 0, 0, 100'000, 0, 0};
  attributes.nice = getpriority(PRIO_PROCESS, 0);
  syscall(SYS_sched_setattr, 0, &attributes, 0);
#endif
#endif
}

class MpiTransport final : public FrameTransport {
 public:
  MpiTransport(int rank, const std::vector<std::string>& names, const MpiChannel& channel)
      : connections_(names.size()) {
    for (int other = 0; other < static_cast<int>(names.size()); ++other) {
      const auto index = static_cast<size_t>(other);
      if (other == rank) continue;
      connections_[index] = std::make_unique<MpiConnection>(channel, other, names[index]);
    }
  }
  ~MpiTransport() override {
    for (int rank = 0; rank < static_cast<int>(connections_.size()); ++rank) drop(rank);
  }

  Connection* to(int rank) override { return connections_[static_cast<size_t>(rank)].get(); }

  void drop(int rank) override {
    auto& connection = connections_[static_cast<size_t>(rank)];
    if (!connection) return;
    if (connection->settle(steady_clock::now() + kSettle)) {
      connection.reset();
    } else {
      [[maybe_unused]] const auto* kept = connection.release();  // MPI may still write there
      settled_ = false;
    }
  }

  bool settled() const override { return settled_; }

  std::vector<int> wait(steady_clock::time_point until, Urgency urgency,
                        std::unique_lock<std::mutex>&) override {
    if (!std::exchange(prepared_, true)) sleep_precisely();
    const auto [least, most] = pause_of(urgency);
    std::vector<int> ready;
    for (;;) {
      for (const auto& connection : connections_) {
        if (connection && connection->look()) ready.push_back(connection->rank());
      }
      const auto now = steady_clock::now();
      if (!ready.empty()) quiet_since_ = now;
      if (!ready.empty() || now >= until) return ready;
      const auto pause =
          std::clamp<steady_clock::duration>((now - quiet_since_) / kShareOfQuiet, least, most);
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, std::min(pause, until - now), [this] { return woken_; })) {
        woken_ = false;
        quiet_since_ = now;
        return ready;
      }
    }
  }

  void wake() override {
    {
      std::lock_guard lock(mutex_);
      woken_ = true;
    }
    changed_.notify_one();
  }

 private:
  std::vector<std::unique_ptr<MpiConnection>> connections_;  // [size]
  steady_clock::time_point quiet_since_ = steady_clock::now();
  bool settled_ = true, prepared_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

}  // namespace

std::unique_ptr<FramedCommunicator> make_mpi_communicator(int rank, const std::vector<std::string>& names,
                                                          const MpiChannel& channel,
                                                          const FramedGroupOptions& options) {
  const int size = static_cast<int>(names.size());
  auto transport = size > 1 ? std::make_unique<MpiTransport>(rank, names, channel) : nullptr;
  return std::make_unique<FramedCommunicator>(rank, size, std::move(transport), options);
}

}  // namespace kraken
