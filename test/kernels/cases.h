// The tests of the kernels, as functions: kernels_test.cpp runs them on the host, test/gpu on a GPU.
#pragma once

#include "check.h"
#include "types.h"

namespace kraken::test {

Checks norm_checks();
Checks norm_accuracy_checks();
Checks norm_argument_checks();
Checks join_add_checks();

// Prompts in chunks, decoding and both in one step, over block tables out of order; wanted rows; no cache.
Checks attention_checks(kernels::DType dtype);
Checks attention_accuracy_checks();
// Lengths, blocks and rows that make no sense must not lead out of the buffers.
Checks attention_garbage_checks();
Checks attention_argument_checks();

Checks all_reduce_checks(int ranks);
// Sums of many exchanges in a row, with ranks that dawdle; a rank that comes late; and one that never comes.
Checks all_reduce_sequence_checks(int ranks);
Checks lost_rank_checks(int ranks);
Checks folded_join_checks(int ranks);
Checks all_reduce_argument_checks();

Checks shortlist_checks();
Checks shortlist_invalid_checks();

}  // namespace kraken::test
