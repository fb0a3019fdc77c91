#include "shim_ptx.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace kraken::shim {
namespace {

struct Range {
  const char* base;
  size_t bytes;
  std::vector<void*> replicas;
};

std::mutex mutex;
std::vector<Range> ranges;

}  // namespace

void lacks_fence() {
  std::fprintf(stderr, "shim: memory is used through another address without fence_between_addresses()\n");
  std::abort();
}

void register_multicast(const void* base, size_t bytes, std::vector<void*> replicas) {
  const std::lock_guard lock(mutex);
  ranges.push_back({static_cast<const char*>(base), bytes, std::move(replicas)});
}

void forget_multicast(const void* base) {
  const std::lock_guard lock(mutex);
  std::erase_if(ranges, [&](const Range& range) { return range.base == base; });
}

std::vector<void*> multicast_replicas(const void* address) {
  const std::lock_guard lock(mutex);
  const auto* at = static_cast<const char*>(address);
  for (const Range& range : ranges) {
    if (at < range.base || at >= range.base + range.bytes) continue;
    std::vector<void*> replicas;
    for (void* replica : range.replicas) replicas.push_back(static_cast<char*>(replica) + (at - range.base));
    return replicas;
  }
  std::fprintf(stderr, "shim: %p is no multicast address\n", address);
  std::abort();
}

}  // namespace kraken::shim
