// A rank other than the first: it has been told what to join, checks its part of the engine, loads it and
// runs the steps that rank 0 tells it to.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "comm/framed/framed_communicator.h"
#include "hosts/engine_manifest.h"
#include "hosts/host_messages.h"
#include "hosts/loss_watch.h"
#include "runtime/local_executor.h"

namespace kraken {

class RankServer {
 public:
  // Throws when the engine here is not rank 0's: ERR_ENGINE_PATH, ERR_ENGINE_CORRUPT.
  RankServer(Join join, int rank);

  const Join& join() const { return join_; }
  // The group is lost because of that rank: ends loading soon, and waits on this rank's device. Any thread.
  void lost(int rank) {
    cancelled_ = true;
    loss_watch_.lost(rank);
  }

  // Returns when rank 0 leaves. Throws what ended the rank before; rank 0 has been told.
  void serve(FramedCommunicator& communicator);

 private:
  std::string file_name() const { return "rank" + std::to_string(rank_) + ".engine"; }
  bool receive_limits(FramedCommunicator& communicator);  // false: rank 0 has left
  std::unique_ptr<RankModel> load(const Backend& backend, FramedCommunicator& communicator);
  void obey(const std::vector<uint8_t>& message, RankModel& model, FramedCommunicator& communicator);

  Join join_;
  const int rank_;
  EngineManifest manifest_;
  LocalExecutorConfig limits_;
  LossWatch loss_watch_;
  std::atomic<bool> cancelled_{false};
  RankModelFactory factory_;         // outlives the model
  std::unique_ptr<float[]> logits_;  // [max_rows, V]; what no rank but the first reads
  ReceivedStep step_;
};

}  // namespace kraken
