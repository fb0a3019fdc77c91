// All ranks of an engine, as MPI sees them. What waits here sleeps between looks: blocking MPI calls burn a
// core. TensorRT-LLM shares this process's MPI, so it is initialised with MPI_THREAD_MULTIPLE, as it wants
// it.
#pragma once

#include <mpi.h>

#include <chrono>
#include <string>
#include <vector>

namespace kraken::trtllm {

class MpiWorld {
 public:
  MpiWorld(int* argc, char*** argv);
  ~MpiWorld();
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  MPI_Comm communicator() const { return communicator_; }

  // Of rank 0's text, on every rank.
  std::string broadcast(const std::string& text);
  // Of every rank's text, in their order; empty on the others.
  std::vector<std::string> gather(const std::string& text);
  // All ranks' `bytes` bytes on every rank, in their order.
  void all_gather(const void* mine, void* all, size_t bytes);

  // No other rank is asked or waited for: mpirun ends them all.
  [[noreturn]] void abort();

 private:
  void wait(MPI_Request& request);

  int rank_ = 0, size_ = 1;
  MPI_Comm communicator_ = MPI_COMM_NULL;  // of our own: TensorRT-LLM's messages are on others
};

}  // namespace kraken::trtllm
