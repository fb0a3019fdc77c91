// The tests of whole steps, with communicators as engines have them. Each adds its groups to the report.
#pragma once

#include "algorithm.h"
#include "cublaslt.h"
#include "report.h"

namespace kraken::test {

constexpr kernels::Algorithm kAlgorithms[] = {kernels::Algorithm::Folded, kernels::Algorithm::OneShot,
                                              kernels::Algorithm::TwoShot, kernels::Algorithm::Multimem,
                                              kernels::Algorithm::Nccl};

// `layers` Kraken layers of `ranks` ranks, two ways each, then the sum over the ranks, against float64: each
// algorithm in turn.
void check_layers(Report& report, int ranks, int layers, const MatMul& matmul);

// A step with two exchanges under way, captured in a CUDA graph and replayed `turns` times with new inputs;
// each algorithm, and either stream held back in turn.
void check_graphs(Report& report, int ranks, int turns);

// The same step by ranks that are processes, which this program starts anew; all of them alive, one killed.
void check_processes(Report& report, int ranks);
// What such a process does: its exit status.
int run_rank_process(int rank, int ranks, const std::string& scenario);

}  // namespace kraken::test
