// A part of a run that breaks the device must not take the rest along: a fault stays with the process, so
// that every later call fails, and a kernel that never ends keeps the thread that waits for it. Then this
// program begins anew in its own place (the same process to whoever started it), after that part.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace kraken::test {

// Whether a fault of the past has left some device unusable to this process.
bool is_device_lost();

// `arguments`: behind the program's name. Throws std::runtime_error when the program cannot be started.
[[noreturn]] void restart(const std::vector<std::string>& arguments);

// Calls on_late() once, from a thread of its own, when the time between start() and stop() passes the bound.
class Watchdog {
 public:
  Watchdog(double seconds, std::function<void()> on_late);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void start();
  void stop();

 private:
  void watch();

  const double seconds_;
  const std::function<void()> on_late_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool running_ = false, done_ = false;
  uint64_t turn_ = 0;
  std::thread thread_;
};

}  // namespace kraken::test
