// The other ranks of one engine, among processes that mpirun or srun started. They serve any number of
// engines side by side, each over a communicator of its own; one more, `control`, tells them what to join.
#pragma once

#include <mutex>

#include "comm/mpi/mpi_connection.h"
#include "comm/mpi/mpi_world.h"
#include "hosts/host_messages.h"
#include "hosts/hosted_ranks.h"

namespace kraken {

// What rank 0's engines share.
struct MpiLeader {
  const MpiWorld& world;
  FramedCommunicator& control;
  std::mutex joining;  // held while an engine's ranks are asked and answer
  int engines = 0;
};

// Tags of the n-th communicator: 0 is control's. Throws ERR_HOSTS when MPI has no more.
MpiChannel mpi_channel(const MpiWorld& world, int number);

// "rank 1 (node2)".
std::string name_of_rank(const MpiWorld& world, int rank);

class MpiRanks final : public HostedRanks {
 public:
  // Asks every rank who it is, one engine at a time until join() has returned. Throws ERR_RANKS when there
  // are not as many as the engine has, ERR_NATIVE_LOAD for another build, ERR_RANK_LOST.
  MpiRanks(MpiLeader& leader, const ExecutorOptions& options);

  std::unique_ptr<FramedCommunicator> join(const std::string& engine_digest) override;
  std::string name_of(int rank) const override { return name_of_rank(leader_.world, rank); }

 private:
  // Throws ERR_RANK_LOST.
  std::vector<uint8_t> answer_of(int rank);
  void tell(const std::vector<uint8_t>& message);

  MpiLeader& leader_;
  const ExecutorOptions options_;
  std::unique_lock<std::mutex> joining_;
};

}  // namespace kraken
