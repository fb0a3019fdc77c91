#include "comm/local/rendezvous.h"

#include <chrono>
#include <thread>

namespace kraken {
namespace {

// Ranks that do the same work part by a few per cent of it, which in decoding is microseconds, and between
// two steps they wait for a token to be chosen: less than it takes to put a thread to sleep and to wake it
// (up to 0.2 ms on a virtual machine). With more ranks than cores, spinning keeps the awaited rank from its
// core: 12 µs cost nothing there, 250 µs a third of decoding's pace. So after the former a waiting thread
// offers its core to others at every look, and only after the latter goes to sleep.
constexpr std::chrono::microseconds kSpinTime{12}, kYieldTime{200};
constexpr int kSpinsPerLook = 32;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Rendezvous::State Rendezvous::await(uint32_t target) const {
  const auto begin = std::chrono::steady_clock::now();
  for (std::chrono::steady_clock::duration waited{0}; waited < kYieldTime;
       waited = std::chrono::steady_clock::now() - begin) {
    if (waited > kSpinTime) std::this_thread::yield();
    for (int spin = 0; spin < kSpinsPerLook; ++spin) {
      const State now = state(target);
      if (now != State::Pending) return now;
      pause();
    }
  }
  for (;;) {
    const uint32_t word = word_.load(std::memory_order_seq_cst);
    const State now = state_of(word, target);
    if (now != State::Pending) return now;
    word_.wait(word,
               std::memory_order_seq_cst);  // arrivals before the last one change the word but wake nobody
  }
}

}  // namespace kraken
