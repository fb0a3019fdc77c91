#include "worker/launched_program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "worker/guardian.h"
#include "worker/rendezvous.h"

extern char** environ;

namespace kraken {
namespace {

using std::chrono::milliseconds;

constexpr size_t kTail = 8192;
constexpr size_t kShown = 600;
constexpr milliseconds kTermPatience{2500};  // mpirun gives its ranks a second
constexpr milliseconds kDrainPatience{100};

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

LaunchedProgram::LaunchedProgram(const std::vector<std::string>& command, const std::string& rendezvous)
    : name_(base_name(command.at(0))) {
  std::vector<std::string> texts = command;
  std::vector<char*> arguments, environment;
  for (std::string& text : texts) arguments.push_back(text.data());
  arguments.push_back(nullptr);
  std::string meeting = std::string(kRendezvous) + "=" + rendezvous;
  for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
  environment.push_back(meeting.data());
  environment.push_back(nullptr);

  int fds[2];
  if (pipe(fds) < 0) throw Error("ERR_NATIVE_LOAD", std::string("pipe: ") + std::strerror(errno));
  output_ = Descriptor(fds[0]);
  const Descriptor writer(fds[1]);
  for (int fd : fds) fcntl(fd, F_SETFD, FD_CLOEXEC);
  Guarded guarded = start_guarded(arguments.data(), environment.data(), writer.get());
  pid_ = guarded.guardian;
  if (pid_ < 0) throw Error("ERR_NATIVE_LOAD", name_ + " could not be started: " + std::strerror(errno));
  lifeline_ = std::move(guarded.lifeline);
  forwarder_ = std::thread([this] { forward(); });
}

LaunchedProgram::~LaunchedProgram() {
  end(milliseconds(0));
  // A grandchild may still hold the pipe open: the forwarder looks at reaped_, not at the pipe's end alone.
  if (forwarder_.joinable()) forwarder_.join();
}

bool LaunchedProgram::ended(milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (!reaped_ && pid_ > 0 && waitpid(pid_, &status_, WNOHANG) == pid_) reaped_ = true;
      if (reaped_ || pid_ <= 0) return true;
    }
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(milliseconds(5));
  }
}

void LaunchedProgram::end(milliseconds patience) {
  if (ended(patience)) return;
  kill(pid_, SIGTERM);
  if (ended(kTermPatience)) return;
  kill(-pid_, SIGKILL);
  ended(kTermPatience);
}

void LaunchedProgram::forward() {
  char bytes[4096];
  pollfd polled{output_.get(), POLLIN, 0};
  for (;;) {
    const int ready = poll(&polled, 1, static_cast<int>(kDrainPatience.count()));
    if (ready == 0) {
      const std::lock_guard lock(mutex_);
      if (reaped_) return;
      continue;
    }
    const ssize_t got = read(output_.get(), bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    [[maybe_unused]] const ssize_t ignored = write(STDERR_FILENO, bytes, static_cast<size_t>(got));
    const std::lock_guard lock(mutex_);
    tail_.append(bytes, static_cast<size_t>(got));
    if (tail_.size() > 2 * kTail) tail_.erase(0, tail_.size() - kTail);
  }
}

std::string LaunchedProgram::output() {
  const std::lock_guard lock(mutex_);
  return tail_;
}

std::string LaunchedProgram::fate() {
  std::string text = name_;
  {
    const std::lock_guard lock(mutex_);
    if (!reaped_) {
      text += " runs, but rank 0 has gone";
    } else if (WIFSIGNALED(status_)) {
      text += " was killed by signal " + std::to_string(WTERMSIG(status_));
    } else {
      text += " ended with exit code " + std::to_string(WEXITSTATUS(status_));
    }
    // One line of what it said, without its ornaments.
    std::string said;
    for (char c : tail_) {
      const bool blank = c == '\n' || c == '\r' || c == '\t' || c == ' ';
      if (static_cast<unsigned char>(c) < ' ' && !blank) continue;
      if (!blank || (!said.empty() && said.back() != ' ')) said += blank ? ' ' : c;
    }
    for (size_t at; (at = said.find("----------")) != std::string::npos;) {
      said.erase(at, said.find_first_not_of('-', at) == std::string::npos
                         ? std::string::npos
                         : said.find_first_not_of('-', at) - at);
    }
    said.erase(0, said.find_first_not_of(' '));
    if (const size_t last = said.find_last_not_of(' '); last != std::string::npos) said.resize(last + 1);
    if (said.size() > kShown) said = "… " + said.substr(said.size() - kShown);
    if (!said.empty()) text += "; it said: " + said;
  }
  return text;
}

}  // namespace kraken
