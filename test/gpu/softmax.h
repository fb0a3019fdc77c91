// What a layer needs besides matrix products and this project's kernels: for tests, so simple and not fast.
#pragma once

#include "values.h"

namespace kraken::test {

// scores[batch,T,T] := the softmax of each row over its first (row + 1) columns; 0 beyond: causal attention.
void causal_softmax(DType dtype, int64_t batch, int64_t tokens, void* scores, cudaStream_t stream);

}  // namespace kraken::test
