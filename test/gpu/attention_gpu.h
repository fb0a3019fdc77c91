// Attention as engines run it: that a captured step stays right when lengths change, and how fast it is.
#pragma once

#include "report.h"
#include "timing.h"

namespace kraken::test {

// A decoding step captured once and replayed over other lengths and blocks.
Checks attention_graph_checks();

// Prompts in FLOP/s; decoding in bytes of keys and values per second, as a share of what a copy moves.
void measure_attention(Report& report, const Scale& scale);

}  // namespace kraken::test
