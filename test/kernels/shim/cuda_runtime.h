// Stands in for CUDA's header: what device code needs of the language.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "cuda_runtime_api.h"

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
// Fibers of a block share their thread; blocks of a thread run one after another.
#define __shared__ static thread_local

namespace kraken::shim {

// A built-in variable of device code: reading it asks the runner.
template <dim3 (*kRead)(), unsigned int dim3::*kMember>
struct Coordinate {
  operator unsigned int() const { return kRead().*kMember; }
};
template <dim3 (*kRead)()>
struct Coordinates {
  Coordinate<kRead, &dim3::x> x;
  Coordinate<kRead, &dim3::y> y;
  Coordinate<kRead, &dim3::z> z;
};

}  // namespace kraken::shim

inline constexpr kraken::shim::Coordinates<kraken::shim::thread_index> threadIdx{};
inline constexpr kraken::shim::Coordinates<kraken::shim::block_index> blockIdx{};
inline constexpr kraken::shim::Coordinates<kraken::shim::block_extent> blockDim{};
inline constexpr kraken::shim::Coordinates<kraken::shim::grid_extent> gridDim{};

struct alignas(16) uint4 {
  unsigned int x, y, z, w;
};

inline void __syncthreads() {
  ::kraken::shim::meet_block(true);
}
inline int __syncthreads_and(int predicate) {
  return ::kraken::shim::meet_block(predicate != 0) ? 1 : 0;
}
// Blocks of a launch run in order, in one thread; ranks meet through release and acquire (ptx.cuh).
inline void __threadfence() {}

namespace kraken::shim {

template <typename T>
T shuffle(T value, unsigned int source_lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = meet_warp(bits, source_lane);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace kraken::shim

template <typename T>
T __shfl_xor_sync(unsigned int, T value, int mask) {
  return ::kraken::shim::shuffle(value, threadIdx.x % 32 ^ static_cast<unsigned int>(mask));
}
template <typename T>
T __shfl_up_sync(unsigned int, T value, unsigned int delta) {
  const unsigned int lane = threadIdx.x % 32;
  return ::kraken::shim::shuffle(value, lane < delta ? lane : lane - delta);
}
template <typename T>
T __shfl_sync(unsigned int, T value, int lane) {
  return ::kraken::shim::shuffle(value, static_cast<unsigned int>(lane));
}

template <typename T>
T atomicAdd(T* address, T value) {
  return std::atomic_ref<T>(*address).fetch_add(value, std::memory_order_relaxed);
}

inline float __uint_as_float(unsigned int bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned int __float_as_uint(float value) {
  unsigned int bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
// Rounded to nearest, never fused: the sources that use them are compiled with -ffp-contract=off.
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline void sincospif(float x, float* sine, float* cosine) {
  const double angle = 3.14159265358979323846 * static_cast<double>(x);
  *sine = static_cast<float>(std::sin(angle));
  *cosine = static_cast<float>(std::cos(angle));
}

template <typename... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute, int bytes) {
  if (bytes > kraken::shim::kMostDynamicBytes) return cudaErrorInvalidValue;
  kraken::shim::grant_dynamic_bytes(reinterpret_cast<const void*>(kernel), static_cast<size_t>(bytes));
  return cudaSuccess;
}

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const dim3 grid = config->gridDim, block = config->blockDim;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) {
    return cudaErrorInvalidConfiguration;
  }
  const unsigned int threads = block.x * block.y * block.z;
  if (threads == 0 || threads > 1024) return cudaErrorInvalidConfiguration;
  if (config->dynamicSmemBytes > kraken::shim::granted_dynamic_bytes(reinterpret_cast<const void*>(kernel))) {
    return cudaErrorInvalidValue;
  }
  // By value, as CUDA takes a kernel's arguments.
  const size_t dynamic_bytes = config->dynamicSmemBytes;
  ::kraken::shim::enqueue([=, ... copies = static_cast<Parameters>(arguments)] {
    ::kraken::shim::run_grid(grid, block, dynamic_bytes, [&] { kernel(copies...); });
  });
  return cudaSuccess;
}
