#include "hosts/mpi/mpi_ranks.h"

#include "base/error.h"
#include "comm/mpi/mpi_communicator.h"

namespace kraken {

MpiChannel mpi_channel(const MpiWorld& world, int number) {
  int* most = nullptr;
  int given = 0;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &most, &given);
  if (number > ((given ? *most : 32767) - 1) / 2) {
    throw Error("ERR_HOSTS", "this run has loaded " + std::to_string(number - 1) +
                                 " engines, as many as MPI has tags for: start it again");
  }
  return {world.communicator(), 2 * number};
}

std::string name_of_rank(const MpiWorld& world, int rank) {
  return "rank " + std::to_string(rank) + " (" + world.hosts()[static_cast<size_t>(rank)] + ")";
}

MpiRanks::MpiRanks(MpiLeader& leader, const ExecutorOptions& options)
    : leader_(leader), options_(options), joining_(leader.joining) {
  if (options.ranks != leader.world.size()) {
    throw Error("ERR_RANKS", options.directory + " has " + std::to_string(options.ranks) + " ranks, but " +
                                 std::to_string(leader.world.size()) +
                                 " processes were started: start as many as it has ranks");
  }
  tell(Frame(MessageType::Describe).take());
  for (int rank = 1; rank < options.ranks; ++rank) {
    const HostIdentity identity = read_identity(answer_of(rank));
    try {
      check_hello(identity.hello);
    } catch (const Error& error) {
      throw Error("ERR_NATIVE_LOAD", name_of(rank) + ": " + error.what());
    }
  }
}

void MpiRanks::tell(const std::vector<uint8_t>& message) {
  for (int rank = 1; rank < options_.ranks; ++rank) leader_.control.post(rank, message);
}

std::vector<uint8_t> MpiRanks::answer_of(int rank) {
  auto message = leader_.control.receive(rank);
  if (!message) throw Error("ERR_RANK_LOST", name_of(rank) + " has left");
  return std::move(*message);
}

std::unique_ptr<FramedCommunicator> MpiRanks::join(const std::string& engine_digest) {
  const auto joining = std::move(joining_);
  const MpiChannel channel = mpi_channel(leader_.world, ++leader_.engines);
  const auto ranks = static_cast<size_t>(options_.ranks);
  tell(
      bytes_of(Join{options_, engine_digest, std::vector<std::string>(ranks), std::vector<uint32_t>(ranks)}));
  std::string code, reason;  // of the first that refuses; every answer is read
  for (int rank = 1; rank < options_.ranks; ++rank) {
    const auto answer = answer_of(rank);
    auto [type, reader] = open_frame(answer);
    if (type == MessageType::Joined) continue;
    if (type != MessageType::Failed) garbled("no answer to join");
    Failure failure;
    read_all(reader, failure);
    if (!code.empty()) continue;
    code = failure.code;
    reason = name_of(rank) + ": " + failure.message;
  }
  if (!code.empty()) throw Error(code, reason);
  tell(Frame(MessageType::Begin, int32_t{leader_.engines}).take());
  return make_mpi_communicator(
      0, leader_.world.hosts(), channel,
      group_options(options_, [this](int lost_rank) { loss_watch().lost(lost_rank); }));
}

}  // namespace kraken
