// How many threads a rank computes with: what was asked for, else its share of the cores that it may run on.
#pragma once

#include "runtime/executor.h"

namespace kraken {

int host_threads(const ExecutorOptions& options, int rank);

}  // namespace kraken
