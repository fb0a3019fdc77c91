#include "attend_launch.cuh"

namespace kraken::kernels {

template cudaError_t attend(const Step<__nv_bfloat16>&, const Rotary&, const TileLaunch&, bool, float*,
                            int32_t, cudaStream_t);

}  // namespace kraken::kernels
