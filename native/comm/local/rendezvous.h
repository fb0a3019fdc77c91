// A place where threads meet: a count of arrivals, waited for by spinning briefly and then sleeping, so that
// more ranks than cores work well (measured: unlimited spinning costs 9x on decode).
#pragma once

#include <atomic>
#include <cstdint>

namespace kraken {

class alignas(64) Rendezvous {
 public:
  enum class State { Pending, Reached, Aborted };

  // Counts one arrival. Whoever makes the count `target` wakes the sleepers; all ranks name the same target.
  void arrive(uint32_t target) {
    // Sequentially consistent, because notify_all() skips the system call when it sees no sleeper: the count
    // must be visible before that look, as the sleeper's registration is before its last look at the count.
    const uint32_t word = word_.fetch_add(2, std::memory_order_seq_cst) + 2;
    if ((word & ~kAborted) == target << 1) word_.notify_all();
  }

  // Reached: everything written before the counted arrivals may be read.
  State state(uint32_t target) const { return state_of(word_.load(std::memory_order_acquire), target); }

  // Returns Reached or Aborted.
  State await(uint32_t target) const;

  bool aborted() const { return (word_.load(std::memory_order_acquire) & kAborted) != 0; }

  // Every present and future state() is Aborted.
  void abort() {
    word_.fetch_or(kAborted, std::memory_order_seq_cst);
    word_.notify_all();
  }

 private:
  static constexpr uint32_t kAborted = 1;

  // Counts wrap; targets are never more than a few rounds away, so the sign of the difference decides.
  static State state_of(uint32_t word, uint32_t target) {
    if (word & kAborted) return State::Aborted;
    return static_cast<int32_t>(word - (target << 1)) >= 0 ? State::Reached : State::Pending;
  }

  std::atomic<uint32_t> word_{0};  // 2·arrivals + aborted
};

}  // namespace kraken
