#include "communicator/make_communicator.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "common/error.h"
#include "communicator/identity.h"
#include "communicator/nccl_communicator.h"
#include "communicator/peer_communicator.h"

namespace kraken::plugins {
namespace {

void require(bool condition, const std::string& message) {
  if (!condition) throw PluginError(message);
}

void check_options(const kraken_communicator_options& options) {
  require(options.struct_size == static_cast<int32_t>(sizeof(options)),
          "struct_size must be " + std::to_string(sizeof(options)) + ", got " +
              std::to_string(options.struct_size));
  require(
      options.ranks >= 1 && options.ranks <= kernels::kMaxRanks,
      "ranks must be 1 to " + std::to_string(kernels::kMaxRanks) + ", got " + std::to_string(options.ranks));
  require(options.rank >= 0 && options.rank < options.ranks, "rank must be below ranks (" +
                                                                 std::to_string(options.ranks) + "), got " +
                                                                 std::to_string(options.rank));
  require(options.capacity > 0, "capacity must be above 0 bytes, got " + std::to_string(options.capacity));
  require(options.ranks == 1 || options.all_gather != nullptr, "more than one rank need all_gather");
  require(options.transport >= KRAKEN_TRANSPORT_AUTO && options.transport <= KRAKEN_TRANSPORT_NCCL,
          "transport must be 0, 1 or 2, got " + std::to_string(options.transport));
}

kernels::AlgorithmTable table_of(const char* text) {
  if (text == nullptr) return kernels::AlgorithmTable::built_in();
  return kernels::AlgorithmTable::parse(text, "algorithms");
}

// Why the ranks cannot use NCCL; empty when they can. The same on all of them: one that has none would leave
// the others waiting.
std::string nccl_problem(const Rendezvous& rendezvous) {
  struct Record {
    DeviceIdentity device;
    int32_t has_nccl = 0;
  } mine;
  mine.device = DeviceIdentity::current();
  mine.has_nccl = NcclGroup::unavailable().empty() ? 1 : 0;
  const std::vector<Record> all = rendezvous.gather(mine);
  for (const Record& one : all) {
    if (one.has_nccl == 0) {
      const std::string here = NcclGroup::unavailable();
      return "not every rank has it" + (here.empty() ? "" : "; on this one: " + here);
    }
    const auto same = [&](const Record& other) {
      return std::memcmp(&other.device, &one.device, sizeof one.device) == 0;
    };
    if (std::count_if(all.begin(), all.end(), same) != 1)
      return "it wants a GPU for each rank, and ranks share one";
  }
  return "";
}

}  // namespace

std::unique_ptr<DeviceCommunicator> make_communicator(const kraken_communicator_options& options) {
  check_options(options);
  kernels::AlgorithmTable table = table_of(options.algorithms);
  Rendezvous rendezvous;
  rendezvous.rank = options.rank;
  rendezvous.ranks = options.ranks;
  rendezvous.all_gather = [&options](const void* mine, void* all, int64_t bytes) {
    return options.all_gather(options.context, mine, all, bytes);
  };
  if (options.is_lost != nullptr) {
    rendezvous.is_lost = [&options] { return options.is_lost(options.context) != 0; };
  }
  const std::chrono::nanoseconds timeout(
      options.timeout_nanoseconds != 0 ? options.timeout_nanoseconds : kernels::PeerBuffers().timeout_ns);
  const Stalls stalls = {options.stall_side_microseconds, options.stall_main_microseconds};

  std::string without_nccl = "it was ruled out";
  if (options.ranks == 1)
    without_nccl = "there is one rank";
  else if (options.transport != KRAKEN_TRANSPORT_PEER)
    without_nccl = nccl_problem(rendezvous);
  const bool nccl = without_nccl.empty();
  if (options.transport == KRAKEN_TRANSPORT_NCCL) {
    require(nccl, "NCCL cannot be used: " + without_nccl);
    return std::make_unique<NcclCommunicator>(rendezvous, options.capacity, timeout, stalls);
  }
  std::unique_ptr<PeerMemory> memory = PeerCommunicator::make_memory(rendezvous, options.capacity, table);
  if (memory->complete()) {
    std::unique_ptr<NcclGroup> group = nccl ? std::make_unique<NcclGroup>(rendezvous, timeout) : nullptr;
    return std::make_unique<PeerCommunicator>(std::move(memory), std::move(group), std::move(table),
                                              options.capacity, options.timeout_nanoseconds, stalls);
  }
  require(nccl, memory->problem() + "; NCCL would do without, but " + without_nccl);
  memory.reset();
  return std::make_unique<NcclCommunicator>(rendezvous, options.capacity, timeout, stalls);
}

}  // namespace kraken::plugins
