#include "elements.cuh"
#include "launch.h"
#include "softmax.h"

namespace kraken::test {
namespace {

template <typename T>
__global__ void causal_softmax_kernel(int64_t rows, int64_t tokens, T* scores) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  T* at = scores + row * tokens;
  const int64_t seen = row % tokens + 1;
  float max = -INFINITY, sum = 0.0f;
  for (int64_t i = 0; i < seen; ++i) max = fmaxf(max, kernels::to_float(at[i]));
  for (int64_t i = 0; i < seen; ++i) sum += expf(kernels::to_float(at[i]) - max);
  for (int64_t i = 0; i < tokens; ++i) {
    at[i] = kernels::from_float<T>(i < seen ? expf(kernels::to_float(at[i]) - max) / sum : 0.0f);
  }
}

}  // namespace

void causal_softmax(DType dtype, int64_t batch, int64_t tokens, void* scores, cudaStream_t stream) {
  constexpr unsigned int kThreads = 64;
  const int64_t rows = batch * tokens;
  const auto blocks = static_cast<unsigned int>((rows + kThreads - 1) / kThreads);
  KRAKEN_CUDA(kernels::dispatch(dtype, [&](auto element) {
    using T = decltype(element);
    return kernels::launch(causal_softmax_kernel<T>, dim3(blocks), kThreads, stream, rows, tokens,
                           static_cast<T*>(scores));
  }));
}

}  // namespace kraken::test
