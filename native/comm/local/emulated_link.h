// A slower link than memory, for benchmarks: what a rank sends arrives when a link of that latency and
// bandwidth would have delivered it. Full duplex, one per rank; what a rank sends queues behind what it sent
// before.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace kraken {

struct LinkSpeed {
  double latency_seconds = 0;
  double bytes_per_second = 0;  // 0: as fast as memory, and nothing is delayed
  bool emulated() const { return bytes_per_second > 0; }
};

class EmulatedLink {
 public:
  using Clock = std::chrono::steady_clock;

  explicit EmulatedLink(const LinkSpeed& speed) : speed_(speed) {}

  // When `bytes` that are handed over at `now` have arrived.
  Clock::time_point send(double bytes, Clock::time_point now) {
    if (!speed_.emulated()) return now;
    free_at_ = std::max(free_at_, now) + seconds(bytes / speed_.bytes_per_second);
    return free_at_ + seconds(speed_.latency_seconds);
  }

 private:
  static Clock::duration seconds(double value) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
  }

  LinkSpeed speed_;
  Clock::time_point free_at_{};
};

}  // namespace kraken
