#pragma once

#include "check.h"
#include "cublaslt.h"

namespace kraken::test {

// Four Kraken layers of `ranks` ranks, two ways each, against float64: every way's stream after the last
// layer. With the exchange through an all-reduce on a side stream, and folded into the join.
Checks layer_checks(int ranks, const MatMul& matmul);

}  // namespace kraken::test
