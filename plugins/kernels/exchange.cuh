// How ranks wait for one another: counters in peer memory, written with release and read with acquire at
// system scope. A counter only grows and its next value is kept in device memory, so replaying a graph needs
// nobody's help. Every wait is bounded.
#pragma once

#include <cuda_runtime.h>

#include "elements.cuh"
#include "peer_buffers.h"
#include "ptx.cuh"

namespace kraken::kernels {

// Counters wrap around; two that are compared are never far apart.
__device__ __forceinline__ bool has_reached(uint32_t counter, uint32_t target) {
  return static_cast<int32_t>(counter - target) >= 0;
}

__device__ __forceinline__ Flags& own_flags(const PeerBuffers& peers) {
  return *peers.flags[peers.rank];
}

__device__ __forceinline__ void report_lost(const PeerBuffers& peers, uint32_t lost) {
  if (peers.error != nullptr) store_relaxed_system(peers.error, lost);
}

// False, and reported, when the group has lost a rank before.
__device__ __forceinline__ bool is_whole(const PeerBuffers& peers) {
  const uint32_t lost = load_relaxed_system(&own_flags(peers).lost);
  if (lost == 0) return true;
  report_lost(peers, lost);
  return false;
}

// Waits until `counter`, one of the own flags that `peer` writes, has reached the target. False when the peer
// did not come in time: then every rank knows.
__device__ __forceinline__ bool await(const PeerBuffers& peers, uint32_t* counter, uint32_t target,
                                      int peer) {
  constexpr int kPollsPerLookAtTheClock = 64;
  const uint64_t begin = nanoseconds();
  while (true) {
    for (int poll = 0; poll < kPollsPerLookAtTheClock; ++poll) {
      if (has_reached(load_acquire_system(counter), target)) return true;
      spin_pause();
    }
    if (!is_whole(peers)) return false;
    if (nanoseconds() - begin > peers.timeout_ns) break;
  }
  const uint32_t lost = 1u + static_cast<uint32_t>(peer);
  for (int rank = 0; rank < peers.ranks; ++rank) store_relaxed_system(&peers.flags[rank]->lost, lost);
  report_lost(peers, lost);
  return false;
}

// A barrier of this block with the same block of the other ranks. What any thread of the blocks wrote before
// it can be read by all of them behind it. Threads 0 … ranks-1 serve a peer each. `epoch` counts the barriers
// of this block; the last one's value is left in epoch[block] by leave_barriers. kOtherAddress: what was
// written before is read behind it through a multicast address, or the other way round.
template <bool kOtherAddress = false>
__device__ __forceinline__ bool meet_peers(const PeerBuffers& peers, uint32_t epoch) {
  __syncthreads();
  bool met = true;
  const int peer = static_cast<int>(threadIdx.x);
  if (peer < peers.ranks) {
    store_release_system(&peers.flags[peer]->arrived[blockIdx.x][peers.rank], epoch);
    met = await(peers, &own_flags(peers).arrived[blockIdx.x][peer], epoch, peer);
    if (kOtherAddress) fence_between_addresses();
  }
  return __syncthreads_and(met) != 0;
}

__device__ __forceinline__ uint32_t enter_barriers(const PeerBuffers& peers) {
  return own_flags(peers).epoch[blockIdx.x];
}

__device__ __forceinline__ void leave_barriers(const PeerBuffers& peers, uint32_t epoch) {
  if (threadIdx.x == 0) own_flags(peers).epoch[blockIdx.x] = epoch;
}

// True for one thread of the grid: when every block has called it. What the blocks wrote before is visible to
// that thread, and what it stores with release carries it on to peers.
__device__ __forceinline__ bool is_last_block(uint32_t* blocks_done) {
  __syncthreads();
  if (threadIdx.x != 0) return false;
  __threadfence();
  const uint32_t blocks = gridDim.x * gridDim.y;
  if (atomicAdd(blocks_done, 1u) + 1 != blocks) return false;
  __threadfence();
  *blocks_done = 0;
  return true;
}

// Called by every block of a kernel that fills the send buffer, at its end: the last one tells the peers.
__device__ __forceinline__ void announce(const PeerBuffers& peers) {
  Flags& own = own_flags(peers);
  if (!is_last_block(&own.blocks_done[0])) return;
  const uint32_t announcements = ++own.announcements;
  for (int rank = 0; rank < peers.ranks; ++rank) {
    store_release_system(&peers.flags[rank]->announced[peers.rank], announcements);
  }
}

// Waits for the announcement that belongs to this join, of every peer.
__device__ __forceinline__ bool await_announcements(const PeerBuffers& peers) {
  Flags& own = own_flags(peers);
  bool announced = true;
  const bool is_timed = peers.times != nullptr && blockIdx.x == 0 && threadIdx.x == 0;
  const uint64_t begin = is_timed ? nanoseconds() : 0;
  const int peer = static_cast<int>(threadIdx.x);
  if (peer < peers.ranks) {
    announced = is_whole(peers) && await(peers, &own.announced[peer], own.joins + 1, peer);
  }
  const bool all_announced = __syncthreads_and(announced) != 0;
  // When a sum arrived before anyone waited is not known, so none of it counts as hidden.
  if (is_timed) {
    const uint64_t waited = nanoseconds() - begin;
    peers.times->exposed += waited;
    peers.times->collective += waited;
    ++peers.times->exchanges;
  }
  return all_announced;
}

// Called by every block that awaited them, when it has read what it needs.
__device__ __forceinline__ void leave_join(const PeerBuffers& peers) {
  Flags& own = own_flags(peers);
  if (is_last_block(&own.blocks_done[1])) ++own.joins;
}

// Σ over ranks of the vector of their send buffers at `begin`, rounded once. All loads are on their way
// before the first is added; the order of additions is that of the ranks.
template <typename T, typename Index>
__device__ __forceinline__ Vector<T> sum_of_ranks(const PeerBuffers& peers, int64_t row, Index begin,
                                                  Index end) {
  constexpr int N = kPer16<T>;
  const auto load = [&](int rank) {
    return load_peer_vector(static_cast<const T*>(peers.send[rank]) + row, begin, end);
  };
  Vector<T> part[kMaxRanks];
  part[0] = load(0);
#pragma unroll
  for (int rank = 1; rank < kMaxRanks; ++rank) {
    if (rank >= peers.ranks) break;
    part[rank] = load(rank);
  }
  float sum[N];
#pragma unroll
  for (int j = 0; j < N; ++j) sum[j] = to_float(part[0].element[j]);
#pragma unroll
  for (int rank = 1; rank < kMaxRanks; ++rank) {
    if (rank >= peers.ranks) break;
#pragma unroll
    for (int j = 0; j < N; ++j) sum[j] += to_float(part[rank].element[j]);
  }
#pragma unroll
  for (int j = 0; j < N; ++j) part[0].element[j] = from_float<T>(sum[j]);
  return part[0];
}

}  // namespace kraken::kernels
