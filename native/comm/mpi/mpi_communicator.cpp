#include "comm/mpi/mpi_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#ifdef __linux__
#include <sys/prctl.h>
#endif

namespace kraken {
namespace {

using namespace std::chrono_literals;
using std::chrono::microseconds;
using std::chrono::steady_clock;

constexpr auto kSettle = 20ms;
constexpr unsigned long kTimerSlack = 1000;  // nanoseconds; Linux's own 50 µs would be most of a sleep

struct Pause {
  microseconds first, longest;
};
Pause pause_of(Urgency urgency) {
  switch (urgency) {
    case Urgency::Waited:
      return {2us, 20us};
    case Urgency::Hidden:
      return {25us, 100us};
    case Urgency::Idle:
      return {50us, 500us};
  }
  return {};
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

  std::vector<int> wait(steady_clock::time_point until, Urgency urgency) override {
#ifdef __linux__
    if (!std::exchange(prepared_, true)) prctl(PR_SET_TIMERSLACK, kTimerSlack);
#endif
    auto [pause, longest] = pause_of(urgency);
    std::vector<int> ready;
    for (;;) {
      for (const auto& connection : connections_) {
        if (connection && connection->look()) ready.push_back(connection->rank());
      }
      const auto left = until - steady_clock::now();
      if (!ready.empty() || left <= 0s) return ready;
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, std::min<steady_clock::duration>(pause, left), [this] { return woken_; })) {
        woken_ = false;
        return ready;
      }
      pause = std::min(pause * 2, longest);
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
