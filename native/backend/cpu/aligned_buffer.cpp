#include "backend/cpu/aligned_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace kraken::cpu {
namespace {

constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kSlab = size_t{64} << 20;
constexpr size_t kSmallest = size_t{64} << 10;  // below: malloc's, where a sanitizer sees each buffer's ends

constexpr size_t round_up(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Address space on huge pages, given out front to back, returned when its last buffer goes. Only the pages
// that are touched take memory.
class Slab {
 public:
  explicit Slab(size_t bytes) : mapped_(bytes + kHugePage) {
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    mapping_ = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, kFlags, -1, 0);
    if (mapping_ == MAP_FAILED) throw std::bad_alloc();
    void* aligned = mapping_;
    free_ = mapped_;
    std::align(kHugePage, bytes, aligned, free_);
    next_ = static_cast<std::byte*>(aligned);
#if defined(__linux__)
    // Only whole huge pages of what was asked for: a last part would be paid for without being used.
    ::madvise(next_, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  }
  ~Slab() {
    ::munmap(mapping_, mapped_);
  }
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  bool holds(size_t bytes) const {
    return bytes <= free_;
  }
  void* take(size_t bytes) {
    free_ -= bytes;
    return std::exchange(next_, next_ + bytes);
  }

 private:
  size_t mapped_, free_ = 0;
  void* mapping_ = nullptr;
  std::byte* next_ = nullptr;
};

// A thread's buffers follow one another in its slab, so that a rank's weights share huge pages with no other
// rank's. The slab lives as long as its buffers: only they own it.
std::shared_ptr<void> slab_memory(size_t bytes) {
  thread_local std::weak_ptr<Slab> current;
  std::shared_ptr<Slab> slab = current.lock();
  if (bytes > kSlab / 4) {
    slab = std::make_shared<Slab>(bytes);
  } else if (slab == nullptr || !slab->holds(bytes)) {
    slab = std::make_shared<Slab>(kSlab);
    current = slab;
  }
  void* const data = slab->take(bytes);
  return {std::move(slab), data};
}

}  // namespace

AlignedBuffer::AlignedBuffer(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const size_t rounded = round_up(bytes, kCacheLine);
  if (rounded >= kSmallest) {
    data_ = slab_memory(rounded);
    return;
  }
  void* const data = std::aligned_alloc(kCacheLine, rounded);
  if (data == nullptr) throw std::bad_alloc();
  data_ = {data, std::free};
}

}  // namespace kraken::cpu
