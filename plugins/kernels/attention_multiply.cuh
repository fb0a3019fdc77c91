// The two products of attention for a warp's 16 rows: scores = Q · Kᵀ and sums += P · V. Results lie in lanes
// as tensor cores leave them (tensor_core.cuh), for float32 too, which multiplies without them; so everything
// around is the same for every type.
//
// Rows in shared memory are HD elements; their vectors of 16 bytes are permuted by the row's number, so that
// eight rows' vectors of one column lie in different banks.
#pragma once

#include "block.cuh"
#include "elements.cuh"
#include "tensor_core.cuh"

namespace kraken::kernels {

constexpr int kWarpRows = 16;

template <int HD, typename T>
__device__ __forceinline__ T* shared_vector(T* tile, int row, int vector) {
  return tile + row * HD + (vector ^ (row & 7)) * kPer16<T>;
}

// Only the first `used` columns, a multiple of 16, are multiplied: those that hold a head, and zeros.
template <typename T, int HD, int BN>
struct Multiply {
  static __device__ __forceinline__ void scores(T* q, T* keys, int used, float (&s)[BN / 8][4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
    for (int k = 0; k < HD / 16; ++k) {
      if (k * 16 >= used) break;
      uint32_t a[4];
      load_matrices(a, shared_vector<HD>(q, lane % 16, 2 * k + lane / 16));
#pragma unroll
      for (int n = 0; n < BN / 16; ++n) {
        uint32_t b[4];
        load_matrices(b, shared_vector<HD>(keys, n * 16 + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
        multiply_add(s[2 * n], a, b[0], b[1], T());
        multiply_add(s[2 * n + 1], a, b[2], b[3], T());
      }
    }
  }

  static __device__ __forceinline__ void sums(const float (&p)[BN / 8][4], T* values, int used,
                                              float (&o)[HD / 8][4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
    for (int k = 0; k < BN / 16; ++k) {
      const uint32_t a[4] = {pack(p[2 * k][0], p[2 * k][1], T()), pack(p[2 * k][2], p[2 * k][3], T()),
                             pack(p[2 * k + 1][0], p[2 * k + 1][1], T()),
                             pack(p[2 * k + 1][2], p[2 * k + 1][3], T())};
#pragma unroll
      for (int n = 0; n < HD / 16; ++n) {
        if (n * 16 >= used) break;
        uint32_t b[4];
        load_matrices_transposed(b, shared_vector<HD>(values, k * 16 + lane % 16, 2 * n + lane / 16));
        multiply_add(o[2 * n], a, b[0], b[1], T());
        multiply_add(o[2 * n + 1], a, b[2], b[3], T());
      }
    }
  }
};

template <int HD, int BN>
struct Multiply<float, HD, BN> {
  static __device__ __forceinline__ void scores(float* q, float* keys, int used, float (&s)[BN / 8][4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize, g = lane / 4, t = lane % 4;
#pragma unroll 1
    for (int k = 0; k < used / 4; ++k) {
      const Vector<float> q0(load16(shared_vector<HD>(q, g, k))), q1(load16(shared_vector<HD>(q, g + 8, k)));
#pragma unroll
      for (int n = 0; n < BN / 8; ++n) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const Vector<float> key(load16(shared_vector<HD>(keys, n * 8 + 2 * t + j, k)));
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            s[n][j] += q0.element[i] * key.element[i];
            s[n][2 + j] += q1.element[i] * key.element[i];
          }
        }
      }
    }
  }

  static __device__ __forceinline__ void sums(const float (&p)[BN / 8][4], float* values, int used,
                                              float (&o)[HD / 8][4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize, t = lane % 4;
#pragma unroll
    for (int k = 0; k < BN; ++k) {
      const int from = lane - t + k % 8 / 2;  // the lane of these rows that has key k
      const float p0 = __shfl_sync(kAllLanes, p[k / 8][k % 2], from);
      const float p1 = __shfl_sync(kAllLanes, p[k / 8][2 + k % 2], from);
#pragma unroll
      for (int n = 0; n < HD / 8; ++n) {
        if (n * 8 >= used) break;
        const float* pair = shared_vector<HD>(values, k, 2 * n + t / 2) + t % 2 * 2;
        o[n][0] += p0 * pair[0];
        o[n][1] += p0 * pair[1];
        o[n][2] += p1 * pair[0];
        o[n][3] += p1 * pair[1];
      }
    }
  }

 private:
  static __device__ __forceinline__ uint4 load16(const float* from) {
    return *reinterpret_cast<const uint4*>(from);
  }
};

}  // namespace kraken::kernels
