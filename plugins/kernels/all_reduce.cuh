// The all-reduces. Block b of every rank handles the same elements, and meets only block b of the other
// ranks, so nothing needs the whole grid to be resident at once. Elements go in vectors of 16 bytes; the
// buffers of the exchange are padded to whole vectors, memory of the caller's is not.
#pragma once

#include "elements.cuh"
#include "exchange.cuh"
#include "multimem.cuh"

namespace kraken::kernels {

struct AllReduceArguments {
  int64_t count;  // elements
  const void* input;
  void* output;
  bool frees_send;
};

// The vectors [begin, end) that this block handles among `vectors`, and a thread's stride through them.
template <typename Visit>
__device__ __forceinline__ void for_each_vector(int64_t begin, int64_t end, Visit visit) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t at = begin + static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; at < end;
       at += stride) {
    visit(at);
  }
}

// Vectors [begin, end) of one rank's share, for the algorithms that divide the work.
struct Share {
  int64_t begin, end;
};

__device__ __forceinline__ Share share_of(int rank, int ranks, int64_t vectors) {
  const int64_t each = (vectors + ranks - 1) / ranks;
  const int64_t begin = rank * each, end = begin + each;
  return {begin < vectors ? begin : vectors, end < vectors ? end : vectors};
}

template <typename T>
__device__ __forceinline__ void stage(const AllReduceArguments& arguments, T* send, int64_t at) {
  const int64_t begin = at * kPer16<T>;
  store_vector(send, begin, arguments.count,
               load_vector(static_cast<const T*>(arguments.input), begin, arguments.count));
}

constexpr int kMaxAllReduceThreads = 512;

template <typename T>
__global__ void __launch_bounds__(kMaxAllReduceThreads)
    one_shot_kernel(AllReduceArguments arguments, PeerBuffers peers) {
  constexpr int N = kPer16<T>;
  if (!__syncthreads_and(is_whole(peers))) return;
  const int64_t vectors = (arguments.count + N - 1) / N;
  uint32_t epoch = enter_barriers(peers);
  if (arguments.input != nullptr) {
    T* send = static_cast<T*>(peers.send[peers.rank]);
    for_each_vector(0, vectors, [&](int64_t at) { stage(arguments, send, at); });
  }
  if (!meet_peers(peers, ++epoch)) return;
  T* output = static_cast<T*>(arguments.output);
  for_each_vector(0, vectors, [&](int64_t at) {
    store_vector(output, at * N, arguments.count, sum_of_ranks<T>(peers, 0, at * N, arguments.count));
  });
  if (arguments.frees_send && !meet_peers(peers, ++epoch)) return;
  leave_barriers(peers, epoch);
}

// Every rank's share of the vectors, dealt to blocks in the same way for each.
template <typename Visit>
__device__ __forceinline__ void for_each_share(int ranks, int64_t vectors, Visit visit) {
  for (int rank = 0; rank < ranks; ++rank) {
    const Share share = share_of(rank, ranks, vectors);
    for_each_vector(share.begin, share.end, visit);
  }
}

// reduce(at): makes vector `at` of all receive buffers, for the vectors of this rank's share.
// kByMulticast: through multicast addresses.
template <typename T, bool kByMulticast, typename Reduce>
__device__ __forceinline__ void reduce_and_gather(const AllReduceArguments& arguments,
                                                  const PeerBuffers& peers, Reduce reduce) {
  constexpr int N = kPer16<T>;
  if (!__syncthreads_and(is_whole(peers))) return;
  const int64_t vectors = (arguments.count + N - 1) / N;
  uint32_t epoch = enter_barriers(peers);
  if (arguments.input != nullptr) {
    T* send = static_cast<T*>(peers.send[peers.rank]);
    for_each_share(peers.ranks, vectors, [&](int64_t at) { stage(arguments, send, at); });
  }
  if (!meet_peers<kByMulticast>(peers, ++epoch)) return;
  const Share own = share_of(peers.rank, peers.ranks, vectors);
  for_each_vector(own.begin, own.end, reduce);
  if (!meet_peers<kByMulticast>(peers, ++epoch)) return;
  const T* receive = static_cast<const T*>(peers.receive[peers.rank]);
  T* output = static_cast<T*>(arguments.output);
  if (output != receive) {
    for_each_share(peers.ranks, vectors, [&](int64_t at) {
      store_vector(output, at * N, arguments.count, load_peer_vector(receive, at * N, arguments.count));
    });
  }
  leave_barriers(peers, epoch);
}

template <typename T>
__global__ void __launch_bounds__(kMaxAllReduceThreads)
    two_shot_kernel(AllReduceArguments arguments, PeerBuffers peers) {
  constexpr int N = kPer16<T>;
  reduce_and_gather<T, false>(arguments, peers, [&](int64_t at) {
    const Vector<T> sum = sum_of_ranks<T>(peers, 0, at * N, arguments.count);
    for (int i = 0; i < peers.ranks; ++i) {
      const int rank = (peers.rank + i) % peers.ranks;  // each begins elsewhere: no link is everyone's first
      store_vector(static_cast<T*>(peers.receive[rank]), at * N, arguments.count, sum);
    }
  });
}

template <typename T>
__global__ void __launch_bounds__(kMaxAllReduceThreads)
    multimem_kernel(AllReduceArguments arguments, PeerBuffers peers) {
  reduce_and_gather<T, true>(arguments, peers, [&](int64_t at) {
    const uint4 sum = multimem_load_sum<T>(static_cast<const uint4*>(peers.multicast_send) + at);
    multimem_store(static_cast<uint4*>(peers.multicast_receive) + at, sum);
  });
}

static __global__ void barrier_kernel(PeerBuffers peers) {
  if (!__syncthreads_and(is_whole(peers))) return;
  const uint32_t epoch = enter_barriers(peers) + 1;
  if (meet_peers(peers, epoch)) leave_barriers(peers, epoch);
}

}  // namespace kraken::kernels
