// A rank other than the first: it has been told what to join, checks its part of the engine, loads it and
// runs the steps that rank 0 tells it to.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "comm/framed/framed_communicator.h"
#include "hosts/engine_manifest.h"
#include "hosts/host_messages.h"

namespace kraken {

class RankServer {
 public:
  // Throws when the engine here is not rank 0's: ERR_ENGINE_PATH, ERR_ENGINE_CORRUPT.
  RankServer(Join join, int rank);

  const Join& join() const { return join_; }
  // Ends loading soon, from any thread.
  void cancel() { cancelled_ = true; }

  // Returns when rank 0 leaves. Throws what ended the rank before; rank 0 has been told.
  void serve(FramedCommunicator& communicator);

 private:
  std::string file_name() const { return "rank" + std::to_string(rank_) + ".engine"; }
  std::unique_ptr<RankModel> load(FramedCommunicator& communicator);
  void obey(const std::vector<uint8_t>& message, RankModel& model, FramedCommunicator& communicator);

  Join join_;
  const int rank_;
  EngineManifest manifest_;
  std::atomic<bool> cancelled_{false};
  std::unique_ptr<float[]> logits_;  // [max_rows, V]; what no rank but the first reads
  ReceivedStep step_;
};

}  // namespace kraken
