// Ranks are threads of one process: an exchange publishes pointers and a sequence number, and copies nothing.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace kraken {

// One communicator per rank, all of one group. `communication` false makes start/wait return at once with
// this rank's own parts only (the no-communication bound of benchmarks); barriers and gathers still work.
std::vector<std::unique_ptr<Communicator>> make_local_group(int size, bool communication = true);

}  // namespace kraken
