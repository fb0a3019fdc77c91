// Compiled without instrumentation (CMakeLists.txt): it tells sanitizers itself what its switches mean, where
// a sanitizer is linked.
#include "block_runner.h"

#include <ucontext.h>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

extern "C" {
__attribute__((weak)) void* __tsan_get_current_fiber();
__attribute__((weak)) void* __tsan_create_fiber(unsigned int flags);
__attribute__((weak)) void __tsan_destroy_fiber(void* fiber);
__attribute__((weak)) void __tsan_switch_to_fiber(void* fiber, unsigned int flags);
__attribute__((weak)) void __tsan_acquire(void* address);
__attribute__((weak)) void __tsan_release(void* address);
__attribute__((weak)) void __sanitizer_start_switch_fiber(void** save, const void* bottom, size_t size);
__attribute__((weak)) void __sanitizer_finish_switch_fiber(void* save, const void** bottom, size_t* size);
}

namespace kraken::shim {
namespace {

constexpr unsigned int kNoSync = 1;  // __tsan_switch_to_fiber_no_sync: taking turns orders nothing
constexpr size_t kStackBytes = 128 * 1024;
constexpr unsigned int kWarp = 32;

struct Warp {
  uint64_t values[2][kWarp];
  unsigned int arrived = 0;
  uint64_t meetings = 0;
};

struct Fiber {
  ucontext_t context;
  jmp_buf place;  // where it goes on, without a system call; not for sanitizers, which watch longjmp
  bool has_place = false;
  std::unique_ptr<char[]> stack;  // null: the thread's own
  void* tsan = nullptr;
  void* fake_stack = nullptr;
  const void* bottom = nullptr;
  size_t size = 0;
  dim3 index;
  unsigned int number = 0;
  uint64_t warp_meetings = 0;
  bool finished = true;
};

// One for each thread that launches.
class BlockRunner {
 public:
  ~BlockRunner() {
    for (auto& fiber : fibers_) {
      if (fiber->tsan != nullptr) __tsan_destroy_fiber(fiber->tsan);
    }
  }

  void run(dim3 grid, dim3 block, size_t dynamic_bytes, const std::function<void()>& kernel) {
    if (kernel_ != nullptr) die("a launch inside of a kernel");
    grid_ = grid;
    block_ = block;
    kernel_ = &kernel;
    count_ = block.x * block.y * block.z;
    while (fibers_.size() < count_) add_fiber();
    dynamic_bytes_ = dynamic_bytes;
    if (dynamic_bytes > 0 && posix_memalign(&dynamic_memory_, 1024, dynamic_bytes) != 0) die("out of memory");
    warps_.resize((count_ + kWarp - 1) / kWarp);
    if (__tsan_get_current_fiber != nullptr) home_.tsan = __tsan_get_current_fiber();
    for (unsigned int z = 0; z < grid.z; ++z) {
      for (unsigned int y = 0; y < grid.y; ++y) {
        for (unsigned int x = 0; x < grid.x; ++x) run_block(dim3(x, y, z));
      }
    }
    kernel_ = nullptr;
    std::free(dynamic_memory_);
    dynamic_memory_ = nullptr;
  }

  bool meet_block(bool all_of) {
    all_of_ = all_of_ && all_of;
    const uint64_t meeting = meetings_;
    if (__tsan_release != nullptr) __tsan_release(this);
    if (++arrived_ == alive_) {
      finish_meeting();
    } else {
      while (meetings_ == meeting) next();
    }
    if (__tsan_acquire != nullptr) __tsan_acquire(this);
    return last_all_of_;
  }

  const uint64_t* meet_warp(uint64_t value) {
    Fiber& fiber = *current_;
    Warp& warp = warps_[fiber.number / kWarp];
    auto& values = warp.values[fiber.warp_meetings++ % 2];
    values[fiber.number % kWarp] = value;
    const uint64_t meeting = warp.meetings;
    if (++warp.arrived == kWarp) {
      warp.arrived = 0;
      ++warp.meetings;
    } else {
      unsigned long turns = 0;
      while (warp.meetings == meeting) {
        if (++turns == 100000000) die("a warp whose threads do not all shuffle");
        next();
      }
    }
    return values;
  }

  void next() {
    Fiber* from = current_;
    unsigned int number = from->number;
    do {
      number = (number + 1) % count_;
    } while (fibers_[number]->finished);
    if (fibers_[number].get() != from) switch_to(*fibers_[number]);
  }

  const Fiber& current() const { return *current_; }
  void* dynamic_memory() const { return dynamic_memory_; }
  dim3 index() const { return block_index_; }
  dim3 extent() const { return block_; }
  dim3 grid() const { return grid_; }

 private:
  [[noreturn]] static void die(const char* what) {
    std::fprintf(stderr, "shim: %s\n", what);
    std::abort();
  }

  static void enter();

  void add_fiber() {
    auto fiber = std::make_unique<Fiber>();
    fiber->number = static_cast<unsigned int>(fibers_.size());
    fiber->stack = std::make_unique<char[]>(kStackBytes);
    fiber->bottom = fiber->stack.get();
    fiber->size = kStackBytes;
    if (__tsan_create_fiber != nullptr) fiber->tsan = __tsan_create_fiber(0);
    fibers_.push_back(std::move(fiber));
  }

  void run_block(dim3 index) {
    block_index_ = index;
    alive_ = count_;
    arrived_ = 0;
    all_of_ = true;
    for (Warp& warp : warps_) warp = Warp();
    if (dynamic_bytes_ > 0) std::memset(dynamic_memory_, 0xff, dynamic_bytes_);
    for (unsigned int i = 0; i < count_; ++i) {
      Fiber& fiber = *fibers_[i];
      fiber.index = dim3(i % block_.x, i / block_.x % block_.y, i / block_.x / block_.y);
      fiber.finished = false;
      fiber.warp_meetings = 0;
      fiber.fake_stack = nullptr;
      fiber.has_place = false;
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = kStackBytes;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, &BlockRunner::enter, 0);
    }
    if (__tsan_release != nullptr) __tsan_release(this);
    current_ = &home_;
    switch_to(*fibers_[0]);
    if (__tsan_acquire != nullptr) __tsan_acquire(this);
  }

  void body() {
    finish_switch();
    if (__tsan_acquire != nullptr) __tsan_acquire(this);
    (*kernel_)();
    if (__tsan_release != nullptr) __tsan_release(this);
    current_->finished = true;
    if (--alive_ == 0) switch_to(home_);
    if (arrived_ == alive_) finish_meeting();  // the others were waiting for this one
    next();
    die("a fiber went on after its end");
  }

  void finish_meeting() {
    last_all_of_ = all_of_;
    all_of_ = true;
    arrived_ = 0;
    ++meetings_;
  }

  void switch_to(Fiber& to) {
    Fiber* from = current_;
    current_ = &to;
    if (__tsan_switch_to_fiber != nullptr) __tsan_switch_to_fiber(to.tsan, kNoSync);
    if (__sanitizer_start_switch_fiber != nullptr) {
      // A fiber that has ended needs no stack of the sanitizer's any more.
      __sanitizer_start_switch_fiber(from->finished && from != &home_ ? nullptr : &from->fake_stack,
                                     to.bottom, to.size);
    }
    left_ = from;
    if (is_sanitized()) {
      swapcontext(&from->context, &to.context);
    } else if (_setjmp(from->place) == 0) {
      from->has_place = true;
      if (to.has_place) _longjmp(to.place, 1);
      setcontext(&to.context);
    }
    finish_switch();
  }

  static bool is_sanitized() {
    return __tsan_switch_to_fiber != nullptr || __sanitizer_start_switch_fiber != nullptr;
  }

  void finish_switch() {
    if (__sanitizer_finish_switch_fiber == nullptr) return;
    const void* bottom = nullptr;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(current_->fake_stack, &bottom, &size);
    if (left_ == &home_) {
      home_.bottom = bottom;
      home_.size = size;
    }
  }

  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Warp> warps_;
  Fiber home_;
  Fiber* current_ = &home_;
  Fiber* left_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  void* dynamic_memory_ = nullptr;
  size_t dynamic_bytes_ = 0;
  dim3 grid_, block_, block_index_;
  unsigned int count_ = 0, alive_ = 0, arrived_ = 0;
  uint64_t meetings_ = 0;
  bool all_of_ = true, last_all_of_ = true;
};

BlockRunner& runner() {
  thread_local BlockRunner one;
  return one;
}

void BlockRunner::enter() {
  runner().body();
}

}  // namespace

dim3 thread_index() {
  return runner().current().index;
}
dim3 block_index() {
  return runner().index();
}
dim3 block_extent() {
  return runner().extent();
}
dim3 grid_extent() {
  return runner().grid();
}
void run_grid(dim3 grid, dim3 block, size_t dynamic_bytes, const std::function<void()>& kernel) {
  runner().run(grid, block, dynamic_bytes, kernel);
}
void* dynamic_memory() {
  return runner().dynamic_memory();
}
bool meet_block(bool all_of) {
  return runner().meet_block(all_of);
}
uint64_t meet_warp(uint64_t value, unsigned int source_lane) {
  return runner().meet_warp(value)[source_lane % kWarp];
}
void meet_warp(uint64_t value, uint64_t (&all)[kWarp]) {
  const uint64_t* values = runner().meet_warp(value);
  for (unsigned int lane = 0; lane < kWarp; ++lane) all[lane] = values[lane];
}
void pause() {
  thread_local unsigned int pauses = 0;
  if (++pauses % 8 == 0) std::this_thread::yield();
  runner().next();
}

}  // namespace kraken::shim
