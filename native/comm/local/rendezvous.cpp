#include "comm/local/rendezvous.h"

namespace kraken {
namespace {

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Rendezvous::State Rendezvous::await(uint32_t target) const {
  for (int spin = 0; spin < kSpins; ++spin) {
    const State now = state(target);
    if (now != State::Pending) return now;
    pause();
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
