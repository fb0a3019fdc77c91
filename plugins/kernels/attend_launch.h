// The launch of one kind of tiles, for one element type. Each type is a translation unit of its own, so that
// they compile side by side.
#pragma once

#include "attention_step.cuh"

namespace kraken::kernels {

// few: tiles of kFewRows, which may be split; else of kManyRows. `partials` is null unless they are split.
template <typename T>
cudaError_t attend(const Step<T>& step, const Rotary& rotary, const TileLaunch& launch, bool few,
                   float* partials, int32_t partial_floats, cudaStream_t stream);

}  // namespace kraken::kernels
