// How many threads a rank computes with: what was asked for, else its share of its host's cores.
#pragma once

#include <algorithm>
#include <thread>

#include "runtime/executor.h"

namespace kraken {

inline int host_threads(const ExecutorOptions& options, int rank) {
  if (options.threads_per_rank > 0) return options.threads_per_rank;
  const auto ranks_there =
      std::count(options.hosts.begin(), options.hosts.end(), options.hosts[static_cast<size_t>(rank)]);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / static_cast<int>(ranks_there));
}

}  // namespace kraken
