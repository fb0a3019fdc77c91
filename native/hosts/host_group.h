// Rank 0's side of an engine on several hosts: starts the other ranks, waits until each has connected and
// shown that it knows the secret and is of the same build, and tells them what to load. When the group is
// lost, it ends what it started; a rank on another host ends by itself when its connections do.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "comm/tcp/socket.h"
#include "hosts/host_messages.h"
#include "hosts/hosted_ranks.h"
#include "hosts/launched_rank.h"

namespace kraken {

class HostGroup final : public HostedRanks {
 public:
  // Starts the ranks and meets them. Throws ERR_HOSTS naming the host, ERR_NATIVE_LOAD for another build,
  // ERR_ABORTED soon after `cancelled` becomes true.
  HostGroup(const ExecutorOptions& options, const std::atomic<bool>* cancelled);
  ~HostGroup() override;
  HostGroup(const HostGroup&) = delete;
  HostGroup& operator=(const HostGroup&) = delete;

  std::unique_ptr<FramedCommunicator> join(const std::string& engine_digest) override;
  std::string name_of(int rank) const override;

 private:
  struct Member {
    std::unique_ptr<LaunchedRank> launched;
    Descriptor socket;
    std::string address;  // as seen from here
    uint16_t port = 0;
  };

  void launch(const Listener& listener);
  void meet(const Listener& listener);
  void welcome(Accepted accepted);
  void check_launched();
  void read_answer(int rank, Deadline deadline);
  void throw_if_cancelled() const;
  Member& member(int rank) { return members_[static_cast<size_t>(rank)]; }
  const std::string& host(int rank) const { return options_.hosts[static_cast<size_t>(rank)]; }
  void end_when_lost();

  const ExecutorOptions options_;
  const std::atomic<bool>* const cancelled_;
  const std::string secret_;
  std::vector<Member> members_;  // [ranks]; the first is not used
  std::string refused_;          // the last connection that was, and why

  std::mutex mutex_;
  std::condition_variable changed_;
  bool lost_ = false, over_ = false;
  std::thread ender_;
};

}  // namespace kraken
