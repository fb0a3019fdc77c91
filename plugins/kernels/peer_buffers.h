// The memory through which the ranks of one group exchange sums: for each rank a send buffer, a receive
// buffer and flags, all of which every other rank can read and write (peer access between GPUs of one
// process, CUDA IPC or fabric handles between processes, plain memory where ranks share a GPU).
//
// Rules for whoever owns them:
//   - Flags are zero before any rank launches its first collective, and are never touched again but to abort.
//   - All ranks launch the same collectives, with the same sizes and numbers of blocks, in the same order.
//   - Kernels that use the same Flags run one after another: the collectives of one stream, or of streams
//     ordered by events. What may run side by side needs PeerBuffers with Flags of their own.
//   - Progress: a block waits for the same block of the other ranks only, and blocks start in order. Where
//     several ranks share a GPU their kernels must be able to run at the same time: at most
//     (resident blocks of the GPU) / (ranks on it) blocks each, on streams that do not wait for one another.
//     Ranks on streams of one GPU must also have distinct hardware queues (CUDA_DEVICE_MAX_CONNECTIONS >= the
//     number of streams).
//   - Epochs are counted in device memory, so a captured graph may be replayed any number of times.
#pragma once

#include <cstdint>

#include "exchange_times.h"

namespace kraken::kernels {

constexpr int32_t kMaxRanks = 8;
constexpr int32_t kMaxBlocks = 64;  // of one collective

struct alignas(128) Flags {
  uint32_t arrived[kMaxBlocks]
                  [kMaxRanks];    // written by the peers: how many barriers this peer's block reached
  uint32_t announced[kMaxRanks];  // written by the peers: how many send buffers they announced
  uint32_t epoch[kMaxBlocks];     // barriers of this rank's own blocks
  uint32_t announcements, joins;  // of this rank: start_norm's and join_norm_peers'
  uint32_t blocks_done[2];        // of the kernel that announces or joins; zero between kernels
  // 0, or 1 + a rank that did not come in time. Set by whoever notices, on all ranks; then every collective
  // returns at once, with whatever its output held. Anyone, the host too, may set it to abort.
  uint32_t lost;
};

// A kernel argument: copied by value.
struct PeerBuffers {
  int32_t rank = 0, ranks = 1;
  void* send[kMaxRanks] = {};     // 16-byte aligned
  void* receive[kMaxRanks] = {};  // 16-byte aligned; the one-shot algorithms use only the own one
  Flags* flags[kMaxRanks] = {};
  void* multicast_send = nullptr;  // all send buffers as one multicast address; null without the hardware
  void* multicast_receive = nullptr;
  int64_t capacity = 0;            // bytes of each buffer, a multiple of 16
  uint32_t* error = nullptr;       // becomes 1 + the lost rank; host-visible memory of this rank, or null
  ExchangeTimes* times = nullptr;  // a join adds what it waits here; null: nobody wants to know
  uint64_t timeout_ns = uint64_t{10} * 1000 * 1000 * 1000;  // how long a barrier waits for a peer
};

// What launchers check: the rest is for the owner to know.
inline bool is_valid(const PeerBuffers& peers) {
  if (peers.ranks < 1 || peers.ranks > kMaxRanks || peers.rank < 0 || peers.rank >= peers.ranks) return false;
  if (peers.capacity < 0 || peers.capacity % 16 != 0) return false;
  for (int32_t rank = 0; rank < peers.ranks; ++rank) {
    if (peers.send[rank] == nullptr || peers.flags[rank] == nullptr) return false;
    if (reinterpret_cast<uintptr_t>(peers.send[rank]) % 16 != 0) return false;
    if (reinterpret_cast<uintptr_t>(peers.receive[rank]) % 16 != 0) return false;
  }
  return true;
}

}  // namespace kraken::kernels
