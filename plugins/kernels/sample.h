// Chooses the next tokens on the device, so that only ids leave it. Order and meaning of the filters are
// those of the CPU's sampler (native/runtime/sampler.h, steps 3 to 7): temperature, min_p, top_k, top_p, then
// one draw by Philox(seed, position). Sums of probabilities are integers (weights in units of 2^-40 of the
// largest), so a draw is the same on every run, whatever the order in which threads add up.
#pragma once

#include "types.h"

namespace kraken::kernels {

struct SampleRow {
  float temperature = 1.0f;  // below 1e-5: the largest logit wins, the lowest id among equals
  int32_t top_k = 0;         // 0: off; among equals at the edge, lowest ids
  float top_p = 1.0f;        // 1: off
  float min_p = 0.0f;        // 0: off; relative to the most likely token
  uint64_t seed = 0;
  uint64_t position = 0;  // how many tokens the sequence has generated
};

// logits float32 [B,V], rows [B] in device memory → ids int32 [B]; logprobs float32 [B] of the chosen tokens
// under the model (before temperature and filters), or null. A row with NaN or +inf, or without any finite
// logit, gets id -1 and logprob NaN: the model's activations overflowed.
cudaError_t sample(const float* logits, int32_t batch, int32_t vocab, const SampleRow* rows, int32_t* ids,
                   float* logprobs, cudaStream_t stream);

// The greedy choice alone, without parameters in device memory.
cudaError_t argmax(const float* logits, int32_t batch, int32_t vocab, int32_t* ids, cudaStream_t stream);

}  // namespace kraken::kernels
