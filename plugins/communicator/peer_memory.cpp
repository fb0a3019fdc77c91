#include "communicator/peer_memory.h"

#include <random>
#include <string>

namespace kraken::plugins {
namespace {

int64_t round_up(int64_t bytes, int64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Tells processes apart, whatever namespaces their ids live in.
uint64_t process_identity() {
  static const uint64_t identity = [] {
    std::random_device random;
    return (uint64_t{random()} << 32) | random();
  }();
  return identity;
}

struct Card {
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

PeerMemory::PeerMemory(const Rendezvous& rendezvous, int64_t capacity, int32_t pairs, int32_t flag_sets)
    : rank_(rendezvous.rank),
      ranks_(rendezvous.ranks),
      capacity_(round_up(capacity, 256)),
      flag_sets_(flag_sets),
      own_(round_up(int64_t{sizeof(kernels::Flags)} * flag_sets, 256) + 2 * pairs * capacity_),
      bases_(static_cast<size_t>(ranks_), nullptr) {
  Card mine;
  mine.process = process_identity();
  mine.base = own_.data();
  check_cuda(cudaGetDevice(&mine.device), "asking for the current device");
  // Fails where IPC is forbidden (some containers); only ranks of other processes mind.
  if (cudaIpcGetMemHandle(&mine.handle, own_.data()) != cudaSuccess) cudaGetLastError();
  // The flags must be zero before a peer's first kernel, hence before the ranks meet.
  check_cuda(cudaDeviceSynchronize(), "clearing exchange buffers");

  const std::vector<Card> cards = rendezvous.gather(mine);
  std::string own_problem;
  for (int32_t peer = 0; peer < ranks_; ++peer) {
    try {
      if (cards[peer].process == mine.process) {
        enable_peer_access(mine.device, cards[peer].device);
        bases_[peer] = cards[peer].base;
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

kernels::PeerBuffers PeerMemory::buffers(int32_t pair, int32_t flag_set) const {
  kernels::PeerBuffers buffers;
  buffers.rank = rank_;
  buffers.ranks = ranks_;
  buffers.capacity = capacity_;
  const int64_t first = round_up(int64_t{sizeof(kernels::Flags)} * flag_sets_, 256);
  for (int32_t peer = 0; peer < ranks_; ++peer) {
    char* base = bases_[peer];
    buffers.flags[peer] = reinterpret_cast<kernels::Flags*>(base) + flag_set;
    buffers.send[peer] = base + first + 2 * pair * capacity_;
    buffers.receive[peer] = base + first + (2 * pair + 1) * capacity_;
  }
  return buffers;
}

}  // namespace kraken::plugins
