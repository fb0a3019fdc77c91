// An Executor whose ranks live in a process of their own, kraken-worker: what ends that process fails its
// requests with ERR_RANK_LOST and nothing else. One thread starts the worker, speaks with it, watches it and
// reports; the calls of the interface post messages and never wait, but for stats().
//
// The queue's bound is kept on this side, so that enqueue() can refuse at once: a request takes a place, and
// the worker gives it back when the request leaves its queue. So what is unsent here has the bound as well.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/executor.h"
#include "worker/channel.h"
#include "worker/worker_process.h"

namespace kraken {

class WorkerExecutor final : public Executor {
 public:
  // Returns when the engine is loaded. Throws what loading throws, ERR_NATIVE_LOAD (no worker, or one of
  // another build), ERR_RANK_LOST (it ended while it loaded), ERR_ABORTED soon after `cancelled` becomes
  // true.
  WorkerExecutor(const ExecutorOptions& options, const WorkerLaunch& launch, ResponseSink sink,
                 const std::atomic<bool>* cancelled = nullptr);
  ~WorkerExecutor() override { shutdown(); }

  RequestId enqueue(Request request) override;
  void cancel(RequestId id) override;
  // Asks the worker; the last numbers known when it does not answer within a quarter of a second.
  ExecutorStats stats() override;
  RequestLimits limits() const override { return limits_; }
  void shutdown() override;

  // For tests.
  pid_t pid() const { return pid_; }

 private:
  enum class Phase { Greeting, Loading, Serving, Ended };

  // A request that has not had its last event.
  struct Pending {
    struct Sample {
      double first_token_ms = 0;
      bool done = false;
    };
    Clock::time_point enqueued_at;
    std::vector<Sample> samples;
    int32_t running = 0;  // samples without their last event
    bool cancelled = false;
  };

  // All on the executor's own thread.
  void run(const ExecutorOptions& options) noexcept;
  void converse(const ExecutorOptions& options, WorkerProcess& process);
  void handle(MessageType type, Reader& message, const ExecutorOptions& options);
  void receive(Reader& message);
  void account(Response& response);  // mutex_ held
  void keep(ExecutorStats&& stats);
  void enter(Phase phase);
  void finish(const Failure& failure) noexcept;
  [[noreturn]] void lost(WorkerProcess& process);

  bool on_own_thread() const { return std::this_thread::get_id() == thread_id_; }

  const WorkerLaunch launch_;
  const ResponseSink sink_;
  const int32_t max_queue_;
  RequestLimits limits_;  // written before Phase::Serving
  std::atomic<pid_t> pid_{-1};
  std::pair<Descriptor, Descriptor>
      sockets_;  // the second until the worker has it; the first is the channel's
  Channel channel_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  Phase phase_ = Phase::Greeting;
  bool stopping_ = false, aborted_ = false;
  Failure failure_;  // what ended this executor, if not shutdown()
  Failure closed_;   // what enqueue() throws, once its code is not empty
  RequestId last_id_ = 0;
  int32_t queued_ = 0;  // requests that wait in the worker, or on their way there
  std::unordered_map<RequestId, Pending> pending_;
  uint32_t stats_asked_ = 0, stats_got_ = 0;
  ExecutorStats stats_;

  // The own thread's.
  bool heard_ = false, asked_ = false, stopped_ = false;

  std::mutex shutdown_mutex_;
  std::thread thread_;
  std::thread::id thread_id_;
};

}  // namespace kraken
