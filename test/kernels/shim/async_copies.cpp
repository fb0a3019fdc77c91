// cp.async of the stand-in: copies are remembered until their thread waits, so that what is read too early is
// still what was there before.
#include <cstring>
#include <deque>
#include <vector>

#include "cuda_runtime.h"

namespace kraken::shim {
namespace {

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};
struct Copies {
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;
};

// Of the calling fiber; blocks of a thread run one after another.
Copies& copies() {
  thread_local std::vector<Copies> of_threads(1024);
  return of_threads[threadIdx.x];
}

}  // namespace

void copy_later(void* to, const void* from, size_t bytes) {
  copies().open.push_back({to, from, bytes});
}

void commit_copies() {
  copies().groups.push_back(std::move(copies().open));
  copies().open.clear();
}

void wait_for_copies(size_t groups_left) {
  auto& groups = copies().groups;
  while (groups.size() > groups_left) {
    for (const Copy& copy : groups.front()) {
      if (copy.from != nullptr) {
        std::memcpy(copy.to, copy.from, copy.bytes);
      } else {
        std::memset(copy.to, 0, copy.bytes);
      }
    }
    groups.pop_front();
  }
}

}  // namespace kraken::shim
