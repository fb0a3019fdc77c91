// An Executor whose ranks are threads of this process. One thread (ServingLoop) schedules, acts as rank 0 and
// reports; the calls of the interface only leave messages for it. What the ranks run comes as factories, so
// that tests need no files.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "comm/local/local_group.h"
#include "runtime/executor.h"
#include "runtime/mailbox.h"

namespace kraken {

// Called once, on the rank's own thread. Kept as long as the model it made.
using RankModelFactory = std::function<std::unique_ptr<RankModel>(Communicator&)>;

// Everything decided: nothing here has a default (runtime/limits.h fills those in).
struct LocalExecutorConfig {
  int32_t vocab = 0;
  int32_t kv_blocks = 0, kv_block_tokens = 0;
  int32_t max_batch_size = 0, max_sequence_length = 0, max_step_tokens = 0, prefill_chunk = 0, max_rows = 0;
  int32_t max_queue = 0;
  int threads_per_rank = 1;
  LocalGroupOptions communication;
  bool prefix_reuse = false;
  bool profile = false;

  RequestLimits limits() const { return {vocab, max_sequence_length, kv_blocks, kv_block_tokens}; }
};

// The numbers that the executor's thread publishes after each step.
class StatsBoard {
 public:
  template <class Change>
  void update(const Change& change) {
    std::lock_guard lock(mutex_);
    change(stats_);
  }
  // Profile times start again from nothing.
  ExecutorStats take();

 private:
  std::mutex mutex_;
  ExecutorStats stats_;
};

class LocalExecutor final : public Executor {
 public:
  // One rank per factory. Returns when all models are made; throws what the first failing factory threw.
  LocalExecutor(const LocalExecutorConfig& config, std::vector<RankModelFactory> factories, ResponseSink sink,
                QueueObserver observer = {});
  // The same where the ranks speak by other means than config.communication, a communicator each.
  LocalExecutor(const LocalExecutorConfig& config, std::vector<RankModelFactory> factories,
                std::vector<std::unique_ptr<Communicator>> communicators, ResponseSink sink,
                QueueObserver observer);
  ~LocalExecutor() override { shutdown(); }

  RequestId enqueue(Request request) override;
  void cancel(RequestId id) override { mailbox_.cancel(id); }
  ExecutorStats stats() override;
  RequestLimits limits() const override { return config_.limits(); }
  void shutdown() override;

 private:
  std::unique_ptr<Sequence> make_sequence(const Request& request, int32_t sample) const;

  const LocalExecutorConfig config_;
  const std::vector<RankModelFactory> factories_;
  const ResponseSink sink_;
  const std::vector<std::unique_ptr<Communicator>> communicators_;
  Mailbox mailbox_;
  StatsBoard board_;
  std::mutex shutdown_mutex_;
  std::thread thread_;
  std::thread::id thread_id_;
};

}  // namespace kraken
