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
#include "comm/tcp/tcp_communicator.h"
#include "hosts/host_messages.h"
#include "hosts/launched_rank.h"
#include "hosts/loss_watch.h"

namespace kraken {

class HostGroup {
 public:
  // Starts the ranks and meets them. Throws ERR_HOSTS naming the host, ERR_NATIVE_LOAD for another build,
  // ERR_ABORTED soon after `cancelled` becomes true.
  HostGroup(const ExecutorOptions& options, const std::atomic<bool>* cancelled);
  ~HostGroup();
  HostGroup(const HostGroup&) = delete;
  HostGroup& operator=(const HostGroup&) = delete;

  // Every rank learns what it is part of, and connects to the others. Throws what a rank answers (another
  // engine: ERR_ENGINE_CORRUPT; none: ERR_ENGINE_PATH) with its host's name before it.
  std::unique_ptr<TcpCommunicator> join(const std::string& engine_digest);

  // Of rank 0.
  LossWatch& loss_watch() { return loss_watch_; }

  // "rank 1 (10.9.0.2:4711)".
  std::string name_of(int rank) const;

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
  LossWatch loss_watch_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool lost_ = false, over_ = false;
  std::thread ender_;
};

}  // namespace kraken
