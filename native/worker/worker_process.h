// A kraken-worker that this process started: how it is found, started, and brought to an end.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/descriptor.h"

namespace kraken {

// The worker finds its end of the socket here.
constexpr int kWorkerSocket = 3;

struct WorkerLaunch {
  std::string path;                      // of the executable
  std::vector<std::string> environment;  // NAME=value
  std::vector<std::string> arguments;    // --launch COMMAND… or --attach NAME (worker_main.h), or nothing
  // It is asked for a sign of life this often, and is lost when it gives none that many times in a row: a
  // stopped or hung worker is noticed after 5 seconds.
  std::chrono::milliseconds heartbeat{500};
  int missed_heartbeats = 10;
  std::chrono::milliseconds start_timeout{20'000};    // until it says hello
  std::chrono::milliseconds shutdown_timeout{2'000};  // then it is killed
};

// What helps against a worker that is missing or does not fit.
constexpr char kWorkerRemedy[] =
    "in a clone run `npm run setup`, in an installed package `npm rebuild kraken-engine`; and KRAKEN_WORKER "
    "must "
    "name a worker of the same build, or nothing";

// NAME=value in an environment, instead of what it has of that name.
void set_variable(std::vector<std::string>& environment, const std::string& name, const std::string& value);

// What `KRAKEN_WORKER` names, else kraken-worker in `directory`; with this process's environment. Reads the
// environment, so call it where nothing changes that meanwhile: on the JavaScript thread.
WorkerLaunch worker_launch(const std::string& directory);
// Empty: it can be run. Otherwise why not, and what to do.
std::string worker_trouble(const WorkerLaunch& launch);

class WorkerProcess {
 public:
  // Throws ERR_NATIVE_LOAD when it cannot be started. It dies with the calling *thread* (Linux): call this on
  // one that lives as long as the worker shall.
  WorkerProcess(const WorkerLaunch& launch, const Descriptor& socket);
  ~WorkerProcess() { end(std::chrono::milliseconds(0)); }
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Waits up to `patience` for it to have ended.
  bool ended(std::chrono::milliseconds patience);
  // "was killed by SIGKILL", "ended with exit code 2"; "closed its socket" when it has not ended.
  std::string fate() const;
  // Returns when it has ended: by itself within `patience`, else by SIGTERM, else by SIGKILL.
  void end(std::chrono::milliseconds patience);

 private:
  pid_t pid_ = -1;
  bool reaped_ = false;
  int status_ = -1;  // −1: not known
};

}  // namespace kraken
