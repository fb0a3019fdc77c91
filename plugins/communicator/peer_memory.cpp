#include "communicator/peer_memory.h"

#include <string>

#include "communicator/identity.h"

namespace kraken::plugins {
namespace {

constexpr int64_t kAlignment = 256;

int64_t round_up(int64_t bytes, int64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

struct Card {
  MachineIdentity machine;
  uint64_t process = 0;
  int32_t device = 0;
  char* base = nullptr;
  cudaIpcMemHandle_t handle{};
};

// Makes `peer`'s device reachable from the current one; nothing to do where they are the same.
void enable_peer_access(int32_t own, int32_t peer) {
  if (own == peer) return;
  int possible = 0;
  check_cuda(cudaDeviceCanAccessPeer(&possible, own, peer), "asking for peer access");
  if (!possible) throw PluginError("has no peer access");
  const cudaError_t error = cudaDeviceEnablePeerAccess(peer, 0);
  if (error == cudaErrorPeerAccessAlreadyEnabled) {
    cudaGetLastError();  // takes the error back
    return;
  }
  check_cuda(error, "enabling peer access");
}

}  // namespace

PeerMemory::PeerMemory(const Rendezvous& rendezvous, const Layout& layout, bool wants_multicast)
    : rank_(rendezvous.rank),
      ranks_(rendezvous.ranks),
      layout_(layout),
      bases_(static_cast<size_t>(ranks_), nullptr) {
  layout_.capacity = round_up(layout.capacity, kAlignment);
  const int64_t bytes = flag_bytes() + 2 * layout_.pairs * layout_.capacity;
  check_cuda(cudaGetDevice(&device_), "asking for the current device");
  // Ahead of time: when it is needed, the device may be full of kernels that wait.
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0), "creating a stream");
  aborts_.reset(stream);
  multicast_ = MulticastMemory::make(rendezvous, bytes, wants_multicast, multicast_problem_);
  if (multicast_) {
    for (int32_t peer = 0; peer < ranks_; ++peer) bases_[peer] = multicast_->base(peer);
    return;
  }
  // One that has no room must say so to the others, who would wait for it.
  std::string no_room;
  try {
    own_ = std::make_unique<DeviceMemory>(bytes);
  } catch (const PluginError& error) {
    no_room = error.what();
  }
  const std::vector<int32_t> has_room = rendezvous.gather<int32_t>(own_ ? 1 : 0);
  if (!own_) throw PluginError(no_room);
  for (int32_t peer = 0; peer < ranks_; ++peer) {
    if (!has_room[peer])
      throw PluginError("rank " + std::to_string(peer) + " has no room for exchange buffers");
  }
  exchange_handles(rendezvous);
}

int64_t PeerMemory::flag_bytes() const {
  return round_up(int64_t{sizeof(kernels::Flags)} * layout_.flag_sets, kAlignment);
}

void PeerMemory::exchange_handles(const Rendezvous& rendezvous) {
  Card mine;
  mine.machine = MachineIdentity::current();
  mine.process = process_identity();
  mine.base = own_->data();
  mine.device = device_;
  // Fails where IPC is forbidden (some containers); only ranks of other processes mind.
  if (cudaIpcGetMemHandle(&mine.handle, own_->data()) != cudaSuccess) cudaGetLastError();

  const std::vector<Card> cards = rendezvous.gather(mine);
  std::string own_problem;
  for (int32_t peer = 0; peer < ranks_; ++peer) {
    try {
      if (cards[peer].process == mine.process) {
        enable_peer_access(mine.device, cards[peer].device);
        bases_[peer] = cards[peer].base;
      } else if (cards[peer].machine != mine.machine) {
        throw PluginError("it is on another machine");
      } else {
        void* address = nullptr;
        check_cuda(cudaIpcOpenMemHandle(&address, cards[peer].handle, cudaIpcMemLazyEnablePeerAccess),
                   "opening a peer's memory");
        opened_.push_back(address);
        bases_[peer] = static_cast<char*>(address);
      }
    } catch (const PluginError& error) {
      cudaGetLastError();
      own_problem = "rank " + std::to_string(rank_) + " does not reach rank " + std::to_string(peer) + ": " +
                    error.what();
    }
  }
  int32_t reaches_all = own_problem.empty() ? 1 : 0;
  const std::vector<int32_t> reached = rendezvous.gather(reaches_all);
  for (int32_t peer = 0; peer < ranks_; ++peer) {
    if (!reached[peer]) problem_ = "rank " + std::to_string(peer) + " does not reach all others' memory";
  }
  if (!own_problem.empty()) problem_ = own_problem;
}

PeerMemory::~PeerMemory() {
  for (void* address : opened_) cudaIpcCloseMemHandle(address);
}

void PeerMemory::abort(int32_t flag_set, uint32_t lost) const {
  auto* flags = reinterpret_cast<kernels::Flags*>(bases_[rank_]) + flag_set;
  // The caller's own device may be the one that broke, and then takes no calls.
  int before = device_;
  cudaGetDevice(&before);
  cudaSetDevice(device_);
  cudaMemcpyAsync(&flags->lost, &lost, sizeof lost, cudaMemcpyHostToDevice, aborts_.get());
  cudaSetDevice(before);
}

kernels::PeerBuffers PeerMemory::buffers(int32_t pair, int32_t flag_set) const {
  kernels::PeerBuffers buffers;
  buffers.rank = rank_;
  buffers.ranks = ranks_;
  buffers.capacity = layout_.capacity;
  const int64_t send = flag_bytes() + 2 * pair * layout_.capacity, receive = send + layout_.capacity;
  for (int32_t peer = 0; peer < ranks_; ++peer) {
    buffers.flags[peer] = reinterpret_cast<kernels::Flags*>(bases_[peer]) + flag_set;
    buffers.send[peer] = bases_[peer] + send;
    buffers.receive[peer] = bases_[peer] + receive;
  }
  if (multicast_) {
    buffers.multicast_send = multicast_->multicast() + send;
    buffers.multicast_receive = multicast_->multicast() + receive;
  }
  return buffers;
}

}  // namespace kraken::plugins
