// Norm, and Norm that leaves the sum over its ways in the send buffer. A block has a row at a time: of one
// way where nothing is summed, else of one token, way after way.
#pragma once

#include "exchange.cuh"
#include "row.cuh"

namespace kraken::kernels {

enum class Send { Nothing, Input, Other };  // Input: what is normalised is also what is sent

template <typename T, int V, Send kSend>
__global__ void __launch_bounds__(kMaxRowThreads<T, V>)
    norm_kernel(NormArguments norm, const T* x, const T* send, T* out, T* send_sum, PeerBuffers peers) {
  constexpr int N = kPer16<T>;
  __shared__ float buffers[2][kMaxWarps];
  Scratch scratch(buffers);
  const int64_t token = blockIdx.x;
  const int first_way = kSend == Send::Nothing ? static_cast<int>(blockIdx.y) : 0;
  const int last_way = kSend == Send::Nothing ? first_way + 1 : norm.ways;
  const auto row_of = [&](int way) { return (way * norm.tokens + token) * norm.width; };
  const RowCut<T> cut(x + row_of(first_way));

  float sum[V][N] = {};
  for (int way = first_way; way < last_way; ++way) {
    const int64_t row = row_of(way);
    float z[V][N];
#pragma unroll
    for (int i = 0; i < V; ++i) {
      load(x + row, cut.begin(i), norm.width, z[i]);
      if (kSend == Send::Nothing) continue;
      float sent[N];
      if (kSend == Send::Other) load(send + row, cut.begin(i), norm.width, sent);
#pragma unroll
      for (int j = 0; j < N; ++j) sum[i][j] += kSend == Send::Other ? sent[j] : z[i][j];
    }
    // Early, so that peers need not wait for the norm.
    if (kSend != Send::Nothing && way + 1 == last_way) {
#pragma unroll
      for (int i = 0; i < V; ++i) store(send_sum + token * norm.width, cut.begin(i), norm.width, sum[i]);
    }
    normalise<T, V>(norm, way, cut, z, out + row, scratch);
  }
  if (kSend != Send::Nothing && peers.ranks > 0) announce(peers);
}

// A block sums a row; there are few.
template <typename T>
__global__ void sum_of_ways_kernel(int ways, int64_t tokens, int width, const T* send, T* send_sum,
                                   PeerBuffers peers) {
  const int64_t token = blockIdx.x;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) {
    float sum = 0.0f;
    for (int way = 0; way < ways; ++way) sum += to_float(send[(way * tokens + token) * width + i]);
    send_sum[token * width + i] = from_float<T>(sum);
  }
  if (peers.ranks > 0) announce(peers);
}

}  // namespace kraken::kernels
