#include "restart.h"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <stdexcept>

#include "check.h"

namespace kraken::test {

bool is_device_lost() {
  int devices = 0;
  bool lost = cudaGetDeviceCount(&devices) != cudaSuccess;
  for (int device = 0; device < devices; ++device) {
    cudaGetLastError();  // what the failed part left behind, unless it stays
    lost = lost || cudaSetDevice(device) != cudaSuccess || cudaDeviceSynchronize() != cudaSuccess;
  }
  return lost;
}

void restart(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {"kraken-gpu-test"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  std::fflush(stdout);
  execv("/proc/self/exe", pointers.data());
  throw std::runtime_error("the program cannot be started anew");
}

Watchdog::Watchdog(double seconds, std::function<void()> on_late)
    : seconds_(seconds), on_late_(std::move(on_late)), thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watchdog::start() {
  const std::lock_guard lock(mutex_);
  running_ = true;
  ++turn_;
  changed_.notify_all();
}

void Watchdog::stop() {
  const std::lock_guard lock(mutex_);
  running_ = false;
  changed_.notify_all();
}

void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  while (!done_) {
    changed_.wait(lock, [&] { return running_ || done_; });
    const uint64_t turn = turn_;
    const auto over = [&] { return done_ || !running_ || turn_ != turn; };
    if (changed_.wait_for(lock, std::chrono::duration<double>(seconds_), over)) continue;
    on_late_();
    running_ = false;
  }
}

}  // namespace kraken::test
