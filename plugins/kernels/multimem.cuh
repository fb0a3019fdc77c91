// Loads that sum over all replicas of a multicast address inside the NVLink switch, and stores to all of
// them: 16 bytes each. sm_90 and newer; the launcher refuses older devices, for which these are empty.
#pragma once

#ifndef __CUDACC__
#include "shim_multimem.h"
#else

#include "ptx.cuh"

namespace kraken::kernels {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define KRAKEN_MULTIMEM_LOAD(suffix, value, address)                                         \
  asm volatile("multimem.ld_reduce.relaxed.sys.global.add" suffix " {%0, %1, %2, %3}, [%4];" \
               : "=r"((value).x), "=r"((value).y), "=r"((value).z), "=r"((value).w)          \
               : "l"(address)                                                                \
               : "memory")
#else
#define KRAKEN_MULTIMEM_LOAD(suffix, value, address) static_cast<void>(address)
#endif

template <typename T>
__device__ uint4 multimem_load_sum(const void* address);

template <>
__device__ __forceinline__ uint4 multimem_load_sum<float>(const void* address) {
  uint4 value{};
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  float4 sum;
  asm volatile("multimem.ld_reduce.relaxed.sys.global.add.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(sum.x), "=f"(sum.y), "=f"(sum.z), "=f"(sum.w)
               : "l"(address)
               : "memory");
  value = make_uint4(__float_as_uint(sum.x), __float_as_uint(sum.y), __float_as_uint(sum.z),
                     __float_as_uint(sum.w));
#else
  static_cast<void>(address);
#endif
  return value;
}

template <>
__device__ __forceinline__ uint4 multimem_load_sum<__half>(const void* address) {
  uint4 value{};
  KRAKEN_MULTIMEM_LOAD(".acc::f32.v4.f16x2", value, address);
  return value;
}

template <>
__device__ __forceinline__ uint4 multimem_load_sum<__nv_bfloat16>(const void* address) {
  uint4 value{};
  KRAKEN_MULTIMEM_LOAD(".acc::f32.v4.bf16x2", value, address);
  return value;
}

#undef KRAKEN_MULTIMEM_LOAD

__device__ __forceinline__ void multimem_store(void* address, uint4 value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("multimem.st.relaxed.sys.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(address),
               "f"(__uint_as_float(value.x)), "f"(__uint_as_float(value.y)), "f"(__uint_as_float(value.z)),
               "f"(__uint_as_float(value.w))
               : "memory");
#else
  static_cast<void>(address);
  static_cast<void>(value);
#endif
}

}  // namespace kraken::kernels

#endif
