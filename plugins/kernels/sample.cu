#include "launch.h"
#include "sample.cuh"
#include "sample.h"

namespace kraken::kernels {

cudaError_t sample(const float* logits, int32_t batch, int32_t vocab, const SampleRow* rows, int32_t* ids,
                   float* logprobs, cudaStream_t stream) {
  constexpr int32_t kMaxVocab = 1 << 23;  // weights of more would not fit in 64 bits
  if (batch < 0 || vocab < 1 || vocab > kMaxVocab) return cudaErrorInvalidValue;
  if (batch == 0) return cudaSuccess;
  if (logits == nullptr || rows == nullptr || ids == nullptr) return cudaErrorInvalidValue;
  return launch(sample_kernel, dim3(static_cast<unsigned int>(batch)), kSampleThreads, stream, logits, vocab,
                rows, ids, logprobs);
}

cudaError_t argmax(const float* logits, int32_t batch, int32_t vocab, int32_t* ids, cudaStream_t stream) {
  if (batch < 0 || vocab < 1) return cudaErrorInvalidValue;
  if (batch == 0) return cudaSuccess;
  if (logits == nullptr || ids == nullptr) return cudaErrorInvalidValue;
  return launch(sample_kernel, dim3(static_cast<unsigned int>(batch)), kSampleThreads, stream, logits, vocab,
                static_cast<const SampleRow*>(nullptr), ids, static_cast<float*>(nullptr));
}

}  // namespace kraken::kernels
