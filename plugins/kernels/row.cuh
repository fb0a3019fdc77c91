// A row of d elements held in the registers of a block: read once, however long, and normalised there.
#pragma once

#include "block.cuh"
#include "elements.cuh"
#include "types.h"

namespace kraken::kernels {

// How a row is dealt to threads: vectors of 16 bytes that begin where `row` has an aligned address, so the
// first and the last may stick out of the row, and any other may be moved in one access.
template <typename T>
class RowCut {
 public:
  __device__ explicit RowCut(const T* row)
      : shift_(static_cast<int>(reinterpret_cast<uintptr_t>(row) / sizeof(T) % kPer16<T>)) {}

  // Where this thread's i-th vector begins; negative for one that sticks out.
  __device__ int begin(int i) const {
    return (static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x)) * kPer16<T> - shift_;
  }

 private:
  int shift_;
};

// The most threads that a row in V vectors a thread is dealt to (row_launch.h).
template <typename T, int V>
constexpr int kMaxRowThreads = V* kPer16<T> <= 8 ? 288 : 544;

// Two scratches in turn (block_reduce).
class Scratch {
 public:
  using Buffer = float[kMaxWarps];
  __device__ explicit Scratch(Buffer* two) : two_(two) {}
  __device__ Buffer& next() {
    turn_ ^= 1;
    return two_[turn_];
  }

 private:
  Buffer* two_;
  int turn_ = 0;
};

// What a kernel needs to normalise.
struct NormArguments {
  NormKind kind;
  int32_t ways, width;
  float epsilon;
  int64_t tokens;
  const float* weight;  // [W,d]
  const float* bias;    // [W,d] or null
};

inline NormArguments norm_arguments(const NormSpec& spec) {
  return {spec.kind, spec.ways, spec.width, spec.epsilon, spec.tokens, spec.weight, spec.bias};
}

// out = Norm(z): two passes over registers, so a mean far from zero costs no accuracy.
template <typename T, int V>
__device__ __forceinline__ void normalise(const NormArguments& norm, int way, const RowCut<T>& cut,
                                          const float (&z)[V][kPer16<T>], T* out, Scratch& scratch) {
  constexpr int N = kPer16<T>;
  const float width = static_cast<float>(norm.width);
  float mean = 0.0f;
  if (norm.kind == NormKind::Layer) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < V; ++i) {
#pragma unroll
      for (int j = 0; j < N; ++j) sum += z[i][j];  // 0 outside of the row
    }
    mean = block_reduce(sum, scratch.next(), Sum()) / width;
  }
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < V; ++i) {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int at = cut.begin(i) + j;
      const float centred = at >= 0 && at < norm.width ? z[i][j] - mean : 0.0f;
      squares += centred * centred;
    }
  }
  const float scale = 1.0f / sqrtf(block_reduce(squares, scratch.next(), Sum()) / width + norm.epsilon);

  const int64_t row = static_cast<int64_t>(way) * norm.width;
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int begin = cut.begin(i);
    if (begin >= norm.width) break;
    float weight[N], bias[N] = {}, result[N];
    load(norm.weight + row, begin, norm.width, weight);
    if (norm.bias != nullptr) load(norm.bias + row, begin, norm.width, bias);
#pragma unroll
    for (int j = 0; j < N; ++j) result[j] = (z[i][j] - mean) * scale * weight[j] + bias[j];
    store(out, begin, norm.width, result);
  }
}

}  // namespace kraken::kernels
