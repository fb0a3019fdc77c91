// Rotary positions, a vector of 16 bytes at a time. An angle is first reduced to a fraction of a circle in
// double, so that a position of a million is turned as exactly as the first.
#pragma once

#include "attention.h"
#include "elements.cuh"

namespace kraken::kernels {

// Frequencies in shared memory: lanes ask for different ones at once.
struct SharedRotary {
  RotaryStyle style;
  int32_t dims;
  double turns[kMaxHeadDim / 2];
};

// All threads of the block call it, and meet before they use it.
__device__ __forceinline__ void share(const Rotary& rotary, SharedRotary& shared) {
  if (threadIdx.x == 0) {
    shared.style = rotary.style;
    shared.dims = rotary.dims;
  }
  for (int i = static_cast<int>(threadIdx.x); i < rotary.dims / 2; i += static_cast<int>(blockDim.x)) {
    shared.turns[i] = rotary.turns[i];
  }
}

__device__ __forceinline__ float turn(const SharedRotary& rotary, int32_t pair, int32_t position, float own,
                                      float other, bool is_first) {
  const double turns = position * rotary.turns[pair];
  float sine, cosine;
  sincospif(2.0f * static_cast<float>(turns - floor(turns)), &sine, &cosine);
  return own * cosine + (is_first ? -other : other) * sine;
}

// Elements [begin, begin + 16 bytes) of a head whose token has this position; zeros beyond its end. begin is
// a multiple of the vector's length.
template <typename T>
__device__ __forceinline__ Vector<T> rotated_vector(const T* head, int32_t begin, int32_t head_dim,
                                                    const SharedRotary& rotary, int32_t position) {
  constexpr int N = kPer16<T>;
  Vector<T> vector = load_vector(head, begin, head_dim);
  if (rotary.style == RotaryStyle::None || begin >= rotary.dims) return vector;
  if (rotary.style == RotaryStyle::Interleaved) {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      if (begin + i >= rotary.dims) break;
      const float a = to_float(vector.element[i]), b = to_float(vector.element[i + 1]);
      const int32_t pair = (begin + i) / 2;
      vector.element[i] = from_float<T>(turn(rotary, pair, position, a, b, true));
      vector.element[i + 1] = from_float<T>(turn(rotary, pair, position, b, a, false));
    }
    return vector;
  }
  const int32_t half = rotary.dims / 2;
  // Of elements whose partners are not as far away as the first's, the partner is loaded by itself.
  const bool is_first = begin < half;
  const Vector<T> partners = load_vector(head, is_first ? begin + half : begin - half, head_dim);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const int32_t at = begin + i;
    if (at >= rotary.dims) break;
    const T partner = (at < half) == is_first ? partners.element[i] : head[at - half];
    vector.element[i] = from_float<T>(turn(rotary, at < half ? at : at - half, position,
                                           to_float(vector.element[i]), to_float(partner), at < half));
  }
  return vector;
}

}  // namespace kraken::kernels
