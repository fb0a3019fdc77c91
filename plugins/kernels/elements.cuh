// Elements of every dtype as float32, and 16 bytes of them at a time where the address allows.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "ptx.cuh"

namespace kraken::kernels {

__device__ __forceinline__ float to_float(float value) {
  return value;
}
__device__ __forceinline__ float to_float(__half value) {
  return __half2float(value);
}
__device__ __forceinline__ float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}

// Rounds to nearest, ties to even.
template <typename T>
__device__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float value) {
  return __float2half_rn(value);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}

template <typename T>
constexpr int kPer16 = 16 / static_cast<int>(sizeof(T));

// 16 bytes, as elements.
template <typename T>
union Vector {
  uint4 bits;
  T element[kPer16<T>];
  __device__ Vector() {}
  __device__ explicit Vector(uint4 from) : bits(from) {}
};

__device__ __forceinline__ bool is_aligned16(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % 16 == 0;
}

// row[begin …) as it is, 16 bytes; 0 outside of [0, end), and begin may be negative.
template <typename T, typename Index>
__device__ __forceinline__ Vector<T> load_vector(const T* row, Index begin, Index end) {
  constexpr int N = kPer16<T>;
  if (begin >= 0 && begin + N <= end && is_aligned16(row + begin)) {
    return Vector<T>(*reinterpret_cast<const uint4*>(row + begin));
  }
  Vector<T> vector(uint4{});
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const Index at = begin + i;
    if (at >= 0 && at < end) vector.element[i] = row[at];
  }
  return vector;
}

// The same of memory that peers write while this kernel runs.
template <typename T, typename Index>
__device__ __forceinline__ Vector<T> load_peer_vector(const T* row, Index begin, Index end) {
  constexpr int N = kPer16<T>;
  if (begin >= 0 && begin + N <= end && is_aligned16(row + begin)) return Vector<T>(load_peer16(row + begin));
  Vector<T> vector(uint4{});
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const Index at = begin + i;
    if (at >= 0 && at < end) vector.element[i] = load_peer(row + at);
  }
  return vector;
}

// row[begin … begin+N) as float32; N is a multiple of the elements in 16 bytes.
template <int N, typename T, typename Index>
__device__ __forceinline__ void load(const T* row, Index begin, Index end, float (&value)[N]) {
  constexpr int kStep = kPer16<T>;
  static_assert(N % kStep == 0, "whole vectors");
#pragma unroll
  for (int i = 0; i < N; i += kStep) {
    const Vector<T> vector = load_vector(row, static_cast<Index>(begin + i), end);
#pragma unroll
    for (int j = 0; j < kStep; ++j) value[i + j] = to_float(vector.element[j]);
  }
}

// Stores what of a vector lies within [0, end).
template <typename T, typename Index>
__device__ __forceinline__ void store_vector(T* row, Index begin, Index end, const Vector<T>& vector) {
  constexpr int N = kPer16<T>;
  if (begin >= 0 && begin + N <= end && is_aligned16(row + begin)) {
    *reinterpret_cast<uint4*>(row + begin) = vector.bits;
    return;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const Index at = begin + i;
    if (at >= 0 && at < end) row[at] = vector.element[i];
  }
}

template <int N, typename T, typename Index>
__device__ __forceinline__ void store(T* row, Index begin, Index end, const float (&value)[N]) {
  static_assert(N == kPer16<T>, "one vector");
  Vector<T> vector;
#pragma unroll
  for (int i = 0; i < N; ++i) vector.element[i] = from_float<T>(value[i]);
  store_vector(row, begin, end, vector);
}

}  // namespace kraken::kernels
