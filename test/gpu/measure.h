// Times and bandwidths on this machine's GPUs, every one beside the ceiling that the same run measured.
#pragma once

#include <functional>
#include <vector>

#include "algorithm.h"
#include "cublaslt.h"
#include "report.h"

namespace kraken::test {

// The fastest of a few rounds of `turns` calls, in microseconds per call.
double best_time(const std::function<void()>& call, cudaStream_t stream, int turns = 20);

// Norms and joins, as a share of what a copy on the same device moves.
void measure_bandwidth(Report& report);

// Every algorithm at every size; what a tuning run makes a table of.
std::vector<kernels::Measurement> measure_all_reduce(Report& report, int ranks);

// Matrix products alone, an all-reduce alone, both at once, and how much of the shorter was hidden.
void measure_overlap(Report& report, int ranks, const MatMul& matmul);

}  // namespace kraken::test
