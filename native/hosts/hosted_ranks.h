// The other ranks of an engine, as rank 0 sees them, however they were started: host_group.h over TCP,
// mpi/mpi_ranks.h under mpirun.
#pragma once

#include <memory>
#include <string>

#include "comm/framed/framed_communicator.h"
#include "hosts/loss_watch.h"
#include "runtime/local_executor.h"

namespace kraken {

class HostedRanks {
 public:
  virtual ~HostedRanks() = default;

  // Every rank learns what it is part of, and connects to the others. Throws what a rank answers (another
  // engine: ERR_ENGINE_CORRUPT; none: ERR_ENGINE_PATH) with its host's name before it.
  virtual std::unique_ptr<FramedCommunicator> join(const std::string& engine_digest) = 0;

  // "rank 1 (10.9.0.2:4711)".
  virtual std::string name_of(int rank) const = 0;

  // Of rank 0. What join() returns tells it.
  LossWatch& loss_watch() { return loss_watch_; }

 private:
  LossWatch loss_watch_;
};

// Of every rank's communicator.
FramedGroupOptions group_options(const ExecutorOptions& options, std::function<void(int rank)> on_lost);

}  // namespace kraken
