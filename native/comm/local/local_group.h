// Ranks are threads of one process: an exchange publishes pointers and a sequence number, and copies nothing.
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "comm/local/emulated_link.h"

namespace kraken {

struct LocalGroupOptions {
  // False makes start/wait return at once with this rank's own parts only (the no-communication bound of
  // benchmarks); barriers and gathers still work.
  bool communication = true;
  // An exchange of n elements moves 2·(size − 1)/size · n · bytes_per_element over each rank's link, as a
  // ring or two-shot all-reduce does; a gather moves float32.
  LinkSpeed link = {};
  double bytes_per_element = sizeof(float);
};

// One communicator per rank, all of one group.
std::vector<std::unique_ptr<Communicator>> make_local_group(int size, const LocalGroupOptions& options = {});

}  // namespace kraken
