// Stands in for plugins/kernels/tensor_core.cuh: tensor cores as PTX describes their fragments, with products
// and sums in float32 in the order of k.
#pragma once

#include <array>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

namespace kraken::kernels {

template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(shim::dynamic_memory());
}

inline void copy_async16(void* shared, const void* global, bool valid) {
  shim::copy_later(shared, valid ? global : nullptr, 16);
}
inline void commit_copies() {
  shim::commit_copies();
}
template <int kGroups>
void wait_for_copies() {
  shim::wait_for_copies(kGroups);
}

inline void load_matrices(uint32_t (&fragment)[4], const void* shared_row) {
  uint64_t rows[32];
  shim::meet_warp(reinterpret_cast<uint64_t>(shared_row), rows);
  const unsigned int lane = threadIdx.x % 32;
  for (unsigned int matrix = 0; matrix < 4; ++matrix) {
    const auto* row = reinterpret_cast<const uint16_t*>(rows[matrix * 8 + lane / 4]);
    std::memcpy(&fragment[matrix], row + lane % 4 * 2, 4);
  }
}

inline void load_matrices_transposed(uint32_t (&fragment)[4], const void* shared_row) {
  uint64_t rows[32];
  shim::meet_warp(reinterpret_cast<uint64_t>(shared_row), rows);
  const unsigned int lane = threadIdx.x % 32;
  for (unsigned int matrix = 0; matrix < 4; ++matrix) {
    const auto element = [&](unsigned int row) {
      return uint32_t{reinterpret_cast<const uint16_t*>(rows[matrix * 8 + row])[lane / 4]};
    };
    fragment[matrix] = element(lane % 4 * 2) | element(lane % 4 * 2 + 1) << 16;
  }
}

inline float element_of(uint16_t bits, __half) {
  return __half2float({bits});
}
inline float element_of(uint16_t bits, __nv_bfloat16) {
  return __bfloat162float({bits});
}

template <typename T>
void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, T tag) {
  const auto both = [](uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; };
  // [half of k][lane]; of `a` the first register is row g's, the second row (g + 8)'s.
  uint64_t of_a[2][32], of_b[32];
  shim::meet_warp(both(a[0], a[1]), of_a[0]);
  shim::meet_warp(both(a[2], a[3]), of_a[1]);
  shim::meet_warp(both(b0, b1), of_b);
  const unsigned int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  for (unsigned int k = 0; k < 16; ++k) {
    const unsigned int half = k / 8, at = k % 8 / 2, shift = k % 2 * 16;
    float row[2], column[2];
    for (unsigned int i = 0; i < 2; ++i) {
      row[i] = element_of(static_cast<uint16_t>(of_a[half][g * 4 + at] >> (32 * i + shift)), tag);
      column[i] = element_of(static_cast<uint16_t>(of_b[(2 * t + i) * 4 + at] >> (32 * half + shift)), tag);
    }
    for (unsigned int i = 0; i < 4; ++i) d[i] += row[i / 2] * column[i % 2];
  }
}

inline uint32_t pack(float first, float second, __half) {
  return uint32_t{__float2half_rn(second).bits} << 16 | __float2half_rn(first).bits;
}
inline uint32_t pack(float first, float second, __nv_bfloat16) {
  return uint32_t{__float2bfloat16_rn(second).bits} << 16 | __float2bfloat16_rn(first).bits;
}

}  // namespace kraken::kernels
