// What C++ has no word for: memory operations at system scope, multicast, the clock. On the host, where tests
// run the same kernels, a header of the test's stands in for this one.
#pragma once

#ifndef __CUDACC__
#include "shim_ptx.h"
#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace kraken::kernels {

__device__ __forceinline__ void store_release_system(uint32_t* address, uint32_t value) {
  asm volatile("st.release.sys.u32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
}
__device__ __forceinline__ uint32_t load_acquire_system(uint32_t* address) {
  uint32_t value;
  asm volatile("ld.acquire.sys.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}
__device__ __forceinline__ void store_relaxed_system(uint32_t* address, uint32_t value) {
  asm volatile("st.relaxed.sys.u32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
}
__device__ __forceinline__ uint32_t load_relaxed_system(uint32_t* address) {
  uint32_t value;
  asm volatile("ld.relaxed.sys.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}

// Between accesses to the same memory through different addresses, such as a multicast address and a plain
// one: barriers and flags order only what goes through the same (PTX ISA, proxies).
__device__ __forceinline__ void fence_between_addresses() {
  asm volatile("fence.proxy.alias;" ::: "memory");
}

// Loads of memory that a peer has written during this kernel. Relaxed at system scope, so that the compiler
// cannot turn them into loads through the non-coherent cache.
__device__ __forceinline__ uint4 load_peer16(const void* address) {
  uint4 value;
  asm volatile("ld.relaxed.sys.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(address)
               : "memory");
  return value;
}
__device__ __forceinline__ float load_peer(const float* address) {
  float value;
  asm volatile("ld.relaxed.sys.f32 %0, [%1];" : "=f"(value) : "l"(address) : "memory");
  return value;
}
template <typename T>
__device__ __forceinline__ T load_peer(const T* address) {
  static_assert(sizeof(T) == 2);
  union Bits {
    uint16_t bits;
    T value;
    __device__ Bits() {}
  } loaded;
  asm volatile("ld.relaxed.sys.u16 %0, [%1];" : "=h"(loaded.bits) : "l"(address) : "memory");
  return loaded.value;
}

__device__ __forceinline__ uint64_t nanoseconds() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}
__device__ __forceinline__ void spin_pause() {
  __nanosleep(20);
}

}  // namespace kraken::kernels

#endif
