// What makes the double's ranks need each other, as collectives do in the original: all enter an iteration,
// or none leaves it. The arithmetic of all ranks is rank 0's.
#pragma once

#include <mpi.h>

#include <cstdint>

namespace tensorrt_llm::executor {

class Lockstep {
 public:
  Lockstep();
  ~Lockstep();
  int rank() const { return rank_; }
  int size() const { return size_; }

  // All ranks have constructed.
  void meet();
  // Rank 0: begins an iteration, or tells the others that there is no more (0).
  void lead(uint64_t iteration);
  // Another rank: the iteration that rank 0 begins.
  uint64_t follow();
  // The collective itself.
  void exchange();

 private:
  void wait(MPI_Request& request);
  int rank_ = 0, size_ = 1;
  MPI_Comm communicator_ = MPI_COMM_NULL;
};

}  // namespace tensorrt_llm::executor
