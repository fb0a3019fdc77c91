// Multicast memory of the driver's in place of a group's plain buffers: where each rank has a GPU of its own
// and these have an NVLink switch between them. Elsewhere multimem is reported as not run.
#include "communicator/multicast_memory.h"
#include "meeting.h"
#include "multicast.h"

namespace kraken::test {
namespace {

using plugins::MulticastMemory;

std::vector<std::unique_ptr<MulticastMemory>> make_memory(int ranks, int devices, int64_t bytes) {
  std::vector<std::unique_ptr<MulticastMemory>> memory(static_cast<size_t>(ranks));
  Meeting meeting(ranks);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        KRAKEN_CUDA(cudaSetDevice(rank % devices));
        plugins::Rendezvous rendezvous;
        rendezvous.rank = rank;
        rendezvous.ranks = ranks;
        rendezvous.all_gather = [&](const void* mine, void* all, int64_t record) {
          return meeting.gather(rank, mine, all, record) ? 0 : 1;
        };
        std::string problem;
        memory[static_cast<size_t>(rank)] = MulticastMemory::make(rendezvous, bytes, true, problem);
      } catch (const std::exception&) {
        meeting.leave();  // then nobody has any
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return memory;
}

}  // namespace

struct Multicast::Memory {
  std::vector<std::unique_ptr<MulticastMemory>> of_ranks;
};

bool Multicast::is_available(int ranks) {
  const int devices = usable_devices();
  if (ranks < 2 || ranks > devices) return false;
  const auto memory = make_memory(ranks, devices, 1);
  return std::all_of(memory.begin(), memory.end(), [](const auto& one) { return one != nullptr; });
}

Multicast::Multicast(RankGroup& group) : memory_(std::make_unique<Memory>()) {
  const int64_t capacity = group.peers(0).capacity;
  memory_->of_ranks = make_memory(group.ranks(), group.devices(), 2 * capacity);
  for (int rank = 0; rank < group.ranks(); ++rank) {
    const auto& own = memory_->of_ranks[static_cast<size_t>(rank)];
    if (!own) throw std::runtime_error("multicast memory was there a moment ago and is no more");
    kernels::PeerBuffers& peers = group.peers(rank);
    for (int peer = 0; peer < group.ranks(); ++peer) {
      peers.send[peer] = own->base(peer);
      peers.receive[peer] = own->base(peer) + capacity;
    }
    peers.multicast_send = own->multicast();
    peers.multicast_receive = own->multicast() + capacity;
  }
}

Multicast::~Multicast() = default;

}  // namespace kraken::test
