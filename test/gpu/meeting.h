// Where threads wait for one another. One that fails leaves, and then nobody waits: everyone else is told.
#pragma once

#include <condition_variable>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <vector>

namespace kraken::test {

class Meeting {
 public:
  explicit Meeting(int ranks) : records_(static_cast<size_t>(ranks)) {}

  // All-gather of records of the same size; false when somebody has left.
  bool gather(int rank, const void* mine, void* all, int64_t bytes) {
    const auto* begin = static_cast<const char*>(mine);
    records_[static_cast<size_t>(rank)].assign(begin, begin + bytes);
    if (!arrive()) return false;
    auto* to = static_cast<char*>(all);
    for (const std::vector<char>& record : records_) {
      std::memcpy(to, record.data(), record.size());
      to += record.size();
    }
    return arrive();
  }

  void wait() {
    if (!arrive()) throw std::runtime_error("another rank failed");
  }

  void leave() {
    const std::lock_guard lock(mutex_);
    left_ = true;
    changed_.notify_all();
  }

 private:
  bool arrive() {
    std::unique_lock lock(mutex_);
    const uint64_t turn = turn_;
    if (++arrived_ == records_.size()) {
      arrived_ = 0;
      ++turn_;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return turn_ != turn || left_; });
    return turn_ != turn;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<char>> records_;
  size_t arrived_ = 0;
  uint64_t turn_ = 0;
  bool left_ = false;
};

}  // namespace kraken::test
