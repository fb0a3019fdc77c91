// Sums and the like over the threads of a block, a whole number of warps. Every thread gets the result, and
// it is the same on every run: the order of additions is fixed.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace kraken::kernels {

constexpr int kWarpSize = 32;
constexpr int kMaxWarps = 32;
constexpr unsigned int kAllLanes = 0xffffffffu;

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

struct Max {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return b > a ? b : a;
  }
};

template <typename T, typename Combine>
__device__ __forceinline__ T warp_reduce(T value, Combine combine) {
#pragma unroll
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// `scratch` is shared memory that no thread still reads. Two reductions in turn with two scratches need no
// barrier in between.
template <typename T, typename Combine>
__device__ __forceinline__ T block_reduce(T value, T (&scratch)[kMaxWarps], Combine combine) {
  value = warp_reduce(value, combine);
  if (threadIdx.x % kWarpSize == 0) scratch[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  const int warps = static_cast<int>(blockDim.x) / kWarpSize;
  value = scratch[0];
  for (int warp = 1; warp < warps; ++warp) value = combine(value, scratch[warp]);
  return value;
}

}  // namespace kraken::kernels
