// How many registers and threads a row gets: enough threads that a row is one wave of loads, enough loads a
// thread that latency is hidden.
#pragma once

#include "elements.cuh"
#include "launch.h"

namespace kraken::kernels {

inline bool is_valid(const NormSpec& spec) {
  constexpr int64_t kMaxTokens = 0x7fffffff;  // CUDA's bound on grid.x
  constexpr int32_t kMaxWays = 0xffff;        // and on grid.y
  return spec.ways >= 1 && spec.ways <= kMaxWays && spec.tokens >= 0 && spec.tokens <= kMaxTokens &&
         spec.width >= 1 && spec.width <= kMaxWidth && spec.weight != nullptr && is_aligned(spec.weight, 4) &&
         is_aligned(spec.bias, 4);
}

template <int V>
struct VectorsPerThread {
  static constexpr int value = V;
};

// Calls launch(VectorsPerThread<V>(), threads).
template <typename T, typename Launch>
cudaError_t with_row_shape(int32_t width, Launch&& launch) {
  constexpr int N = kPer16<T>;
  const auto vectors =
      static_cast<unsigned int>((width + N - 1) / N + 1);  // one more where rows are unaligned
  const auto threads = [&](unsigned int each) { return round_up((vectors + each - 1) / each, 32); };
  // Bounds of kMaxRowThreads.
  if (width <= 2048) return launch(VectorsPerThread<8 / N>(), threads(8 / N));
  if (width <= 8192) return launch(VectorsPerThread<16 / N>(), threads(16 / N));
  return launch(VectorsPerThread<32 / N>(), threads(32 / N));
}

}  // namespace kraken::kernels
