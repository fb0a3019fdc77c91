// Notices a rank that is stopped or hangs as a whole. mpirun sees processes that end; one that is merely
// silent would leave the others in a collective for ever. Every rank tells rank 0 twice a second that it
// lives, from a thread of its own; what TensorRT-LLM does meanwhile does not matter.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "backend/trtllm/mpi_world.h"

namespace kraken::trtllm {

class RankWatch {
 public:
  static constexpr std::chrono::milliseconds kPatience{5000};

  // On rank 0 `lost` is called, once and on the watch's thread, for a rank that has been silent that long.
  RankWatch(const MpiWorld& world, std::function<void(int rank)> lost);
  // Nobody is watched any more. Waits a moment for the others to say that they go.
  ~RankWatch();

 private:
  void live();
  void listen(const std::function<void(int)>& lost);

  const MpiWorld& world_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace kraken::trtllm
