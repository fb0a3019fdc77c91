// What the stand-ins for the driver and for NCCL, which are opened by name, find in this program: where
// multicast memory is, and streams.
#include <sys/mman.h>

#include <map>
#include <mutex>
#include <thread>

#include "shim_ptx.h"

#define KRAKEN_FOR_LIBRARIES __attribute__((visibility("default")))

namespace {

std::mutex mutex;
std::map<void*, std::pair<size_t, std::vector<void*>>> mapped;

}  // namespace

extern "C" KRAKEN_FOR_LIBRARIES void kraken_multicast_mapped(void* base, size_t bytes, void** replicas,
                                                             int count) {
  const std::vector<void*> list(replicas, replicas + count);
  const std::lock_guard lock(mutex);
  mapped[base] = {bytes, list};
  kraken::shim::register_multicast(base, bytes, list);
}

// Told of every range; most were none of multicast memory.
extern "C" KRAKEN_FOR_LIBRARIES void kraken_multicast_unmapped(void* base) {
  const std::lock_guard lock(mutex);
  const auto range = mapped.find(base);
  if (range == mapped.end()) return;
  kraken::shim::forget_multicast(base);
  for (void* replica : range->second.second) munmap(replica, range->second.first);
  mapped.erase(range);
}

namespace kraken::fake_cuda {

using Work = std::function<bool()>;

// Until it is done: streams of the shim are synchronous, and ranks are threads.
KRAKEN_FOR_LIBRARIES void enqueue(cudaStream_t, std::function<Work()> factory) {
  shim::enqueue([factory = std::move(factory)] {
    const Work work = factory();
    while (!work()) std::this_thread::yield();
  });
}

}  // namespace kraken::fake_cuda
