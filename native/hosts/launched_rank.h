// The command that starts a rank's kraken-worker on its host: ssh, or whatever the user gave. Its standard
// input carries the secret, which is thus in no process list, and stays open as long as the rank shall live.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/descriptor.h"

namespace kraken {

class LaunchedRank {
 public:
  // Throws ERR_HOSTS when the command cannot be started.
  LaunchedRank(const std::vector<std::string>& command, const std::string& secret);
  ~LaunchedRank() { end(std::chrono::milliseconds(0)); }
  LaunchedRank(const LaunchedRank&) = delete;
  LaunchedRank& operator=(const LaunchedRank&) = delete;

  // Waits up to `patience` for the command to have ended.
  bool ended(std::chrono::milliseconds patience);
  // "ssh ended with exit code 255".
  std::string fate() const;
  // Returns when it has ended: by itself within `patience`, else by SIGTERM, else by SIGKILL, which go to
  // whatever it started, too, where that runs here.
  void end(std::chrono::milliseconds patience);

 private:
  const std::string name_;
  Descriptor input_;
  pid_t pid_ = -1;
  bool reaped_ = false;
  int status_ = 0;
};

// What starts `worker` with `arguments` on `host`: by the agent, or by ssh, whose far end is a shell.
std::vector<std::string> launch_command(const std::vector<std::string>& agent, const std::string& host,
                                        const std::string& worker, const std::vector<std::string>& arguments);

}  // namespace kraken
