#include "hosts/host_threads.h"

#include <algorithm>
#include <thread>

#include "runtime/rank_source.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace kraken {
namespace {

// Of this process: a launch agent may have given it a few of its host's cores.
int usable_cores() {
#ifdef __linux__
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

int host_threads(const ExecutorOptions& options, int rank) {
  if (options.threads_per_rank > 0) return options.threads_per_rank;
  return std::max(1, usable_cores() / place_of(options, rank).ranks_on_host);
}

}  // namespace kraken
