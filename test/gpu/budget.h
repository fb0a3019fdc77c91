// How long the whole may take. What does not fit is left out, and said so.
#pragma once

#include <chrono>

namespace kraken::test {

class Budget {
 public:
  explicit Budget(double seconds)
      : end_(Clock::now() +
             std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds))) {}
  double left() const { return std::chrono::duration<double>(end_ - Clock::now()).count(); }
  bool is_over() const { return Clock::now() >= end_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end_;
};

}  // namespace kraken::test
