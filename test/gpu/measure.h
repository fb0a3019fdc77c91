// Times and bandwidths on this machine's GPUs, every one beside the ceiling that the same run measured.
#pragma once

#include <vector>

#include "algorithm.h"
#include "budget.h"
#include "cublaslt.h"
#include "report.h"
#include "timing.h"

namespace kraken::test {

// Norms and joins, as a share of what a copy on the same device moves.
void measure_bandwidth(Report& report, const Scale& scale);

// Every algorithm at every size, as long as there is time: what a table of algorithms is made from.
// `thorough`: with all numbers of blocks, not the usual one alone.
std::vector<kernels::Measurement> measure_algorithms(Report& report, int ranks, bool thorough,
                                                     const Scale& scale, const Budget& budget);

// Matrix products alone, an exchange alone, both at once, and how much of the shorter was hidden.
void measure_overlap(Report& report, int ranks, const MatMul& matmul, const Scale& scale);

}  // namespace kraken::test
