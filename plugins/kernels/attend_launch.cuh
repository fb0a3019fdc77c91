// Which instance of the kernel a head takes: of 64, 128, 192 or 256 elements, the smallest that it fits in.
#pragma once

#include "attend_launch.h"
#include "attention.cuh"
#include "launch.h"

namespace kraken::kernels {

template <typename T, int HD, int kWarps>
cudaError_t attend_heads(const Step<T>& step, const Rotary& rotary, const TileLaunch& launch, float* partials,
                         int32_t partial_floats, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned int>(launch.tiles), static_cast<unsigned int>(step.pairs),
                  static_cast<unsigned int>(launch.splits));
  constexpr auto kBytes = static_cast<size_t>(TileShape<T, HD, kWarps>::kSharedBytes);
  static_assert(kBytes <= 163 * 1024, "what a block may have on sm_80");
  return launch_with_memory(attend_kernel<T, HD, kWarps>, grid, kWarps * kWarpSize, kBytes, stream, step,
                            rotary, launch, partials, partial_floats);
}

template <typename T, int HD>
cudaError_t attend_rows(const Step<T>& step, const Rotary& rotary, const TileLaunch& launch, bool few,
                        float* partials, int32_t partial_floats, cudaStream_t stream) {
  constexpr int kFewWarps = kFewRows / kWarpRows, kManyWarps = kManyRows / kWarpRows;
  return few ? attend_heads<T, HD, kFewWarps>(step, rotary, launch, partials, partial_floats, stream)
             : attend_heads<T, HD, kManyWarps>(step, rotary, launch, partials, partial_floats, stream);
}

template <typename T>
cudaError_t attend(const Step<T>& step, const Rotary& rotary, const TileLaunch& launch, bool few,
                   float* partials, int32_t partial_floats, cudaStream_t stream) {
  static_assert(kMaxHeadDim == 256, "the largest instance");
  const auto with = [&](auto attend_with) {
    return attend_with(step, rotary, launch, few, partials, partial_floats, stream);
  };
  if (step.head_dim <= 64) return with(attend_rows<T, 64>);
  if (step.head_dim <= 128) return with(attend_rows<T, 128>);
  // One instance less for float32, which takes longest to compile.
  if constexpr (sizeof(T) == 2) {
    if (step.head_dim <= 192) return with(attend_rows<T, 192>);
  }
  return with(attend_rows<T, 256>);
}

}  // namespace kraken::kernels
