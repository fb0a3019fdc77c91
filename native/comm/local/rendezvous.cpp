#include "comm/local/rendezvous.h"

#include <chrono>

namespace kraken {
namespace {

// Ranks that do the same work part by a few per cent of it, which in decoding is microseconds: less than it
// takes to put a thread to sleep and to wake it. With more ranks than cores, spinning keeps the awaited rank
// from its core: 12 µs cost nothing there, 250 µs a third of decoding's pace.
constexpr std::chrono::microseconds kSpinTime{12};
constexpr int kSpinsPerLookAtTheClock = 32;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Rendezvous::State Rendezvous::await(uint32_t target) const {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int spin = 0; spin < kSpinsPerLookAtTheClock; ++spin) {
      const State now = state(target);
      if (now != State::Pending) return now;
      pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  for (;;) {
    const uint32_t word = word_.load(std::memory_order_seq_cst);
    const State now = state_of(word, target);
    if (now != State::Pending) return now;
    word_.wait(word,
               std::memory_order_seq_cst);  // arrivals before the last one change the word but wake nobody
  }
}

}  // namespace kraken
