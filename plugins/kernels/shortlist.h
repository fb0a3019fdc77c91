// What a rank's columns of the logits have to offer to the sampler (native/runtime/shortlist.h): the largest
// few of a row and the mass of all its columns, so that the vocabulary stays on the device. What they are is
// exact, not near: the same bits as the CPU computes from the same logits.
#pragma once

#include "types.h"

namespace kraken::kernels {

struct ShortlistRequest {
  int32_t count = 0;  // candidates, at most `capacity`; 0: nothing is wanted of this row
  int32_t needs_mass = 0;
  float scale = 1.0f;  // 1 / temperature
};

struct Candidate {
  float logit;
  int32_t column;
};

// Followed by `capacity` candidates.
struct ShortlistHead {
  // Σ over the columns of round(exp((logit − max) · scale) · 2^40); max: the largest of `maxima`.
  uint64_t mass;
  int32_t count;        // candidates: the largest, the lowest columns among equals, ascending by column
  uint8_t is_whole;     // no other column is larger than −inf
  uint8_t has_numbers;  // 0: there is a NaN or +inf; then nothing else is told
  uint8_t unused[2];
};

constexpr int64_t shortlist_bytes(int32_t capacity) {
  return static_cast<int64_t>(sizeof(ShortlistHead)) + capacity * static_cast<int64_t>(sizeof(Candidate));
}

// maxima [ranks,rows] := 0, and the largest logit of each row at this rank's place (NaN is passed over): the
// sum over ranks are the maxima of all. logits float32 [rows,columns].
cudaError_t row_maxima(const float* logits, int32_t rows, int32_t columns, int32_t rank, int32_t ranks,
                       float* maxima, cudaStream_t stream);

// requests [rows] in device memory → out [rows, shortlist_bytes(capacity)]. `maxima` [ranks,rows] may be null
// where no row needs its mass. columns ≤ 2^23: the mass of more would not fit in 64 bits.
cudaError_t shortlist(const float* logits, int32_t rows, int32_t columns, const ShortlistRequest* requests,
                      const float* maxima, int32_t ranks, int32_t capacity, void* out, cudaStream_t stream);

}  // namespace kraken::kernels
