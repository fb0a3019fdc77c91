// Norm(a + (S − x)) where the sum S comes from one buffer, or from the send buffers of all ranks.
#pragma once

#include "exchange.cuh"
#include "row.cuh"

namespace kraken::kernels {

// z = a + (S − x): in this order, so that of a sum of one way nothing is left to be rounded.
template <typename T, int V, typename SumAt>
__device__ __forceinline__ void join(const NormArguments& norm, const RowCut<T>& cut, const T* a, const T* x,
                                     SumAt sum_at, float (&z)[V][kPer16<T>]) {
  constexpr int N = kPer16<T>;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const Vector<T> own = load_vector(a, cut.begin(i), norm.width);
    const Vector<T> stream = load_vector(x, cut.begin(i), norm.width);
    const Vector<T> sum = sum_at(i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      z[i][j] = to_float(own.element[j]) + (to_float(sum.element[j]) - to_float(stream.element[j]));
    }
  }
}

// A block has one row of one way.
template <typename T, int V>
__global__ void __launch_bounds__(kMaxRowThreads<T, V>)
    join_norm_kernel(NormArguments norm, const T* a, const T* x, const T* sum, T* out) {
  __shared__ float buffers[2][kMaxWarps];
  Scratch scratch(buffers);
  const int64_t token = blockIdx.x;
  const int way = static_cast<int>(blockIdx.y);
  const int64_t row = (way * norm.tokens + token) * norm.width;
  const RowCut<T> cut(a + row);
  float z[V][kPer16<T>];
  const auto sum_at = [&](int i) { return load_vector(sum + token * norm.width, cut.begin(i), norm.width); };
  join<T, V>(norm, cut, a + row, x + row, sum_at, z);
  normalise<T, V>(norm, way, cut, z, out + row, scratch);
}

// Blocks take tokens in turn, all ways of one token by one block: S crosses the links once.
template <typename T, int V>
__global__ void __launch_bounds__(kMaxRowThreads<T, V>)
    join_norm_peers_kernel(NormArguments norm, const T* a, const T* x, PeerBuffers peers, T* out) {
  __shared__ float buffers[2][kMaxWarps];
  Scratch scratch(buffers);
  if (!await_announcements(peers)) return;
  for (int64_t token = blockIdx.x; token < norm.tokens; token += gridDim.x) {
    const int64_t sum_row = token * norm.width;
    const RowCut<T> cut(static_cast<const T*>(peers.send[peers.rank]) + sum_row);
    Vector<T> sum[V];
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] = sum_of_ranks<T>(peers, sum_row, cut.begin(i), norm.width);
    for (int way = 0; way < norm.ways; ++way) {
      const int64_t row = (way * norm.tokens + token) * norm.width;
      float z[V][kPer16<T>];
      join<T, V>(
          norm, cut, a + row, x + row, [&](int i) { return sum[i]; }, z);
      normalise<T, V>(norm, way, cut, z, out + row, scratch);
    }
  }
  leave_join(peers);
}

// out = x + S, a vector a thread.
template <typename T>
__global__ void join_add_kernel(int64_t count, const T* x, const T* sum, T* out) {
  constexpr int N = kPer16<T>;
  const int64_t shift = static_cast<int64_t>(reinterpret_cast<uintptr_t>(x) / sizeof(T) % N);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x * N;
  int64_t begin = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * N - shift;
  for (; begin < count; begin += stride) {
    float value[N], joined[N];
    load(x, begin, count, value);
    load(sum, begin, count, joined);
#pragma unroll
    for (int j = 0; j < N; ++j) value[j] += joined[j];
    store(out, begin, count, value);
  }
}

}  // namespace kraken::kernels
