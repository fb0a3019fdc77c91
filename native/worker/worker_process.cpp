#include "worker/worker_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/error.h"

extern char** environ;

namespace kraken {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTermPatience{200}, kKillPatience{5000};

struct FileActions {
  FileActions() { posix_spawn_file_actions_init(&value); }
  ~FileActions() { posix_spawn_file_actions_destroy(&value); }
  posix_spawn_file_actions_t value;
};

struct SpawnAttributes {
  SpawnAttributes() { posix_spawnattr_init(&value); }
  ~SpawnAttributes() { posix_spawnattr_destroy(&value); }
  posix_spawnattr_t value;
};

const char* name_of_signal(int signal) {
  switch (signal) {
    case SIGKILL:
      return "SIGKILL (by somebody, or for want of memory)";
    case SIGTERM:
      return "SIGTERM";
    case SIGSEGV:
      return "SIGSEGV";
    case SIGABRT:
      return "SIGABRT";
    case SIGBUS:
      return "SIGBUS";
    case SIGILL:
      return "SIGILL";
    case SIGFPE:
      return "SIGFPE";
    default:
      return strsignal(signal);
  }
}

}  // namespace

void set_variable(std::vector<std::string>& environment, const std::string& name, const std::string& value) {
  const std::string begin = name + "=";
  std::erase_if(environment, [&](const std::string& one) { return one.rfind(begin, 0) == 0; });
  environment.push_back(begin + value);
}

WorkerLaunch worker_launch(const std::string& directory) {
  WorkerLaunch launch;
  const char* named = std::getenv("KRAKEN_WORKER");
  launch.path = named != nullptr && *named != '\0' ? named : directory + "/kraken-worker";
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    launch.environment.emplace_back(*variable);
  }
  return launch;
}

std::string worker_trouble(const WorkerLaunch& launch) {
  if (access(launch.path.c_str(), X_OK) == 0) return "";
  return "kraken-worker cannot be run (" + launch.path + ": " + std::strerror(errno) + "): " + kWorkerRemedy;
}

WorkerProcess::WorkerProcess(const WorkerLaunch& launch, const Descriptor& socket) {
  FileActions actions;
  posix_spawn_file_actions_addopen(&actions.value, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  // What libraries print there must not mix with a program's own output.
  posix_spawn_file_actions_adddup2(&actions.value, STDERR_FILENO, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions.value, STDOUT_FILENO,
                                   STDERR_FILENO);  // Node's own closes at exec
  posix_spawn_file_actions_adddup2(&actions.value, socket.get(), kWorkerSocket);

  // Node ignores some signals, and its threads block others; both would be inherited.
  SpawnAttributes attributes;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes.value, &none);
  posix_spawnattr_setsigdefault(&attributes.value, &all);
  posix_spawnattr_setflags(&attributes.value, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> words = {launch.path, "--socket", std::to_string(kWorkerSocket)};
  words.insert(words.end(), launch.arguments.begin(), launch.arguments.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::vector<std::string> environment = launch.environment;
  std::vector<char*> variables;
  for (std::string& variable : environment) variables.push_back(variable.data());
  variables.push_back(nullptr);
  const int error = posix_spawn(&pid_, launch.path.c_str(), &actions.value, &attributes.value,
                                arguments.data(), variables.data());
  if (error != 0) {
    pid_ = -1;
    const std::string trouble = worker_trouble(launch);
    throw Error("ERR_NATIVE_LOAD", !trouble.empty()
                                       ? trouble
                                       : "kraken-worker could not be started (" + launch.path + ": " +
                                             std::strerror(error) + "): " + kWorkerRemedy);
  }
}

bool WorkerProcess::ended(milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (milliseconds pause{1}; pid_ > 0 && !reaped_;) {
    const pid_t result = waitpid(pid_, &status_, WNOHANG);
    if (result == pid_) reaped_ = true;
    if (result < 0 && errno != EINTR) {  // the host program ignores SIGCHLD: there is nothing to reap
      reaped_ = true;
      status_ = -1;
    }
    if (reaped_ || std::chrono::steady_clock::now() >= deadline) break;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, milliseconds(20));
  }
  return pid_ <= 0 || reaped_;
}

std::string WorkerProcess::fate() const {
  if (!reaped_) return "closed its socket";
  if (status_ == -1) return "ended";
  if (WIFSIGNALED(status_)) return std::string("was killed by ") + name_of_signal(WTERMSIG(status_));
  return "ended with exit code " + std::to_string(WEXITSTATUS(status_));
}

void WorkerProcess::end(milliseconds patience) {
  if (ended(patience)) return;
  kill(pid_, SIGTERM);
  if (ended(kTermPatience)) return;
  kill(pid_, SIGKILL);
  ended(kKillPatience);  // longer only in a call that the kernel does not interrupt; then it ends later
}

}  // namespace kraken
