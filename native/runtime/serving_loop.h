// The life of the executor's thread: collect requests, schedule, run a step, report, until told to stop.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/kv_cache.h"
#include "runtime/local_executor.h"
#include "runtime/scheduler.h"
#include "runtime/step_runner.h"

namespace kraken {

class ServingLoop {
 public:
  // Loads the models: throws what that throws. Everything passed outlives the loop.
  ServingLoop(const LocalExecutorConfig& config, std::span<const RankModelFactory> factories,
              std::span<const std::unique_ptr<Communicator>> communicators, Mailbox& mailbox,
              StatsBoard& board, const ResponseSink& sink);

  // Returns when the mailbox says stop, after every request got its last event. Never throws.
  void run() noexcept;

 private:
  using Sequences = std::vector<std::unique_ptr<Sequence>>;
  // How a sample ends that did not end by itself.
  struct Ending {
    FinishReason reason;
    std::string code = {}, message = {};
  };

  bool turn();  // false: told to stop
  void take(std::unique_ptr<Sequence> request);
  Response measure(const Sequence& request);
  void step();
  void report(const Chunk& chunk, int32_t first_result);
  void report_token(Sequence& sequence, StepRunner::Row& row);
  void report_rows(Sequence& sequence, const Chunk& chunk, int32_t first_result);
  void finish(Sequence& sequence, Response& event);
  void end(const Sequences& sequences, const Ending& ending);
  void fail(const std::string& code, const std::string& message) noexcept;
  void emit();
  void publish();

  const LocalExecutorConfig& config_;
  Mailbox& mailbox_;
  StatsBoard& board_;
  const ResponseSink& sink_;
  KvCache cache_;
  Scheduler scheduler_;
  StepRunner runner_;
  std::vector<Response> events_;  // of this turn
};

}  // namespace kraken
