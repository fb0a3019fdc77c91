// This process as one of those that mpirun or srun started. MPI is initialised once for all engines that run
// here; each of them has tags of its own.
#pragma once

#include <mpi.h>

#include <string>
#include <vector>

namespace kraken {

class MpiWorld {
 public:
  // Returns when all have come. Throws ERR_HOSTS: an MPI that cannot serve several threads, or processes that
  // nobody started together.
  MpiWorld(int* argc, char*** argv);
  // Finalises MPI, which waits for the others …
  ~MpiWorld();
  // … or ends this process without, for when others are lost. It returns to nobody.
  [[noreturn]] static void leave_at_once(int code);
  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(hosts_.size()); }
  // Of each rank, as MPI calls it.
  const std::vector<std::string>& hosts() const { return hosts_; }
  // Of each rank, what its cores are: the same for ranks that share them, another for those that a launcher
  // has bound apart.
  const std::vector<std::string>& places() const { return places_; }
  MPI_Comm communicator() const { return communicator_; }

 private:
  int rank_ = 0;
  std::vector<std::string> hosts_, places_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
};

// Throws ERR_RANK_LOST with what MPI says.
void check_mpi(int result, const char* call);

}  // namespace kraken
