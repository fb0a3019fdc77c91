#include "hosts/launched_rank.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "base/error.h"
#include "comm/tcp/socket.h"
#include "worker/channel.h"

extern char** environ;

namespace kraken {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTermPatience{200}, kKillPatience{2000};

std::string base_name(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// For a POSIX shell.
std::string quoted(const std::string& word) {
  constexpr char kPlain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
  return text + "'";
}

}  // namespace

std::vector<std::string> launch_command(const std::vector<std::string>& agent, const std::string& host,
                                        const std::string& worker,
                                        const std::vector<std::string>& arguments) {
  // Nobody is there to type a password, and a host that vanished must not hold ssh for minutes.
  std::vector<std::string> command{
      "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5"};
  if (!agent.empty()) command = agent;
  const bool shell = base_name(command[0]) == "ssh";
  command.push_back(host);
  const auto add = [&](const std::string& word) { command.push_back(shell ? quoted(word) : word); };
  add(worker);
  for (const std::string& argument : arguments) add(argument);
  return command;
}

LaunchedRank::LaunchedRank(const std::vector<std::string>& command, const std::string& secret)
    : name_(base_name(command.at(0))) {
  auto [own, theirs] = make_socket_pair();  // a pipe that nobody reads would raise SIGPIPE
  input_ = std::move(own);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, theirs.get(), STDIN_FILENO);
  // What it prints must not mix with a program's own output. Node closes its standard files on exec: this one
  // stays open, since ssh says there what is wrong.
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);

  // A process group of its own: Ctrl-C is for us to handle, and what it starts here can be ended with it.
  // Node ignores some signals, and its threads block others; both would be inherited.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> words = command;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const int error = posix_spawnp(&pid_, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    pid_ = -1;
    throw Error("ERR_HOSTS", command[0] + " could not be started: " + std::strerror(error));
  }
  const std::string line = secret + "\n";  // one that has ended already is seen by the caller
  [[maybe_unused]] const ssize_t sent = send(input_.get(), line.data(), line.size(), kNoSignal);
}

bool LaunchedRank::ended(milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (milliseconds pause{1}; pid_ > 0 && !reaped_; pause = std::min(pause * 2, milliseconds(20))) {
    const pid_t result = waitpid(pid_, &status_, WNOHANG);
    if (result == pid_ || (result < 0 && errno != EINTR)) reaped_ = true;
    if (reaped_ || std::chrono::steady_clock::now() >= deadline) break;
    std::this_thread::sleep_for(pause);
  }
  return pid_ <= 0 || reaped_;
}

std::string LaunchedRank::fate() const {
  if (!reaped_) return name_ + " runs";
  if (WIFSIGNALED(status_)) return name_ + " was ended by signal " + std::to_string(WTERMSIG(status_));
  const int code = WEXITSTATUS(status_);
  const char* meaning = "";
  if (code == 126 || code == 127) meaning = ": the command was not found there, or may not be run";
  if (code == 255 && name_ == "ssh")
    meaning = ": no connection, and its own message says why (standard error)";
  return name_ + " ended with exit code " + std::to_string(code) + meaning;
}

void LaunchedRank::end(milliseconds patience) {
  input_ = Descriptor();
  if (ended(patience)) return;
  kill(-pid_, SIGTERM);
  if (ended(kTermPatience)) return;
  kill(-pid_, SIGKILL);
  ended(kKillPatience);
}

}  // namespace kraken
