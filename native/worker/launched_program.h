// The program that a launcher runs: its output, and its end.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/descriptor.h"

namespace kraken {

class LaunchedProgram {
 public:
  // Throws ERR_NATIVE_LOAD when it cannot be started. It does not outlive this process by long, whatever ends
  // it.
  LaunchedProgram(const std::vector<std::string>& command, const std::string& rendezvous);
  ~LaunchedProgram();  // ends it
  LaunchedProgram(const LaunchedProgram&) = delete;
  LaunchedProgram& operator=(const LaunchedProgram&) = delete;

  bool ended(std::chrono::milliseconds patience);
  void end(std::chrono::milliseconds patience);
  // "mpirun ended with exit code 1", then the last of what it printed.
  std::string fate();
  // The last lines of its output, all ranks' together.
  std::string output();

 private:
  void forward();

  const std::string name_;
  Descriptor output_, lifeline_;
  pid_t pid_ = -1;  // of its guardian
  bool reaped_ = false;
  int status_ = 0;
  std::mutex mutex_;
  std::string tail_;
  std::thread forwarder_;
};

}  // namespace kraken
