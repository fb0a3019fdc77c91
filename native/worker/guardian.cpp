#include "worker/guardian.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>

#include <cstdint>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

extern char** environ;

namespace kraken {
namespace {

// Milliseconds from the launcher's end. Ranks end by themselves when they hear of it, and their mpirun with
// them: SIGTERM in the middle of that is what it takes badly. It gives its ranks a second to obey.
constexpr int64_t kToldAfter = 1000, kKilledAfter = 3000;

volatile sig_atomic_t told = 0;  // SIGTERM came

// All of this runs in children of what may have been several threads: nothing may allocate.

void handle(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  sigaction(signal, &action, nullptr);
}

[[noreturn]] void become(char** arguments, char** environment, int output, pid_t parent,
                         const sigset_t& signals) {
#ifdef __linux__
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  if (getppid() != parent) _exit(127);
  for (const int signal : {SIGINT, SIGPIPE, SIGTERM, SIGCHLD}) handle(signal, SIG_DFL);
  sigprocmask(SIG_SETMASK, &signals, nullptr);
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  environ = environment;
  execvp(arguments[0], arguments);
  constexpr char kMessage[] = "cannot be run: it is not installed, or not on the path\n";
  [[maybe_unused]] const ssize_t ignored = write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  _exit(127);
}

// What a launcher has open ends with the launcher, but for the lifeline, which becomes the first file.
void keep_only(int lifeline) {
  constexpr int kFirst = STDERR_FILENO + 1;
  if (lifeline != kFirst) dup2(lifeline, kFirst);
#ifdef SYS_close_range
  if (syscall(SYS_close_range, unsigned{kFirst + 1}, ~0u, 0u) == 0) return;
#endif
  const long most = sysconf(_SC_OPEN_MAX);
  for (int fd = kFirst + 1; fd < most; ++fd) close(fd);
}

[[noreturn]] void end_like(int status, const sigset_t& signals) {
  if (!WIFSIGNALED(status)) _exit(WEXITSTATUS(status));
  const rlimit none{};
  setrlimit(RLIMIT_CORE, &none);
  handle(WTERMSIG(status), SIG_DFL);
  sigprocmask(SIG_SETMASK, &signals, nullptr);
  raise(WTERMSIG(status));
  _exit(128 + WTERMSIG(status));
}

int64_t now_ms() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

[[noreturn]] void guard(char** arguments, char** environment, int output, int lifeline) {
  setsid();  // Ctrl-C is for the launcher's parent to handle
  sigset_t ours, before;
  sigemptyset(&ours);
  sigaddset(&ours, SIGTERM);
  sigaddset(&ours, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ours, &before);  // but in pselect()
  handle(SIGTERM, [](int) { told = 1; });
  handle(SIGCHLD, [](int) {});  // ends pselect()
  const pid_t guardian = getpid();
  const pid_t program = fork();
  if (program == 0) become(arguments, environment, output, guardian, before);
  if (program < 0) _exit(127);
  keep_only(lifeline);
  lifeline = STDERR_FILENO + 1;
  bool alone = false, warned = false;
  for (int64_t since = 0;;) {
    int status = 0;
    if (waitpid(program, &status, WNOHANG) == program) end_like(status, before);
    const int64_t waited = alone ? now_ms() - since : 0;
    if (waited >= kKilledAfter) kill(-guardian, SIGKILL);
    if (!warned && waited >= kToldAfter) told = warned = true;
    if (told != 0) {
      told = 0;
      kill(program, SIGTERM);
      kill(program, SIGCONT);
    }
    fd_set files;
    FD_ZERO(&files);
    if (!alone) FD_SET(lifeline, &files);
    const timespec pause{0, 200'000'000};
    sigset_t none;
    sigemptyset(&none);
    if (pselect(lifeline + 1, &files, nullptr, nullptr, alone ? &pause : nullptr, &none) != 1) continue;
    alone = true;  // nothing is ever written there
    since = now_ms();
  }
}

}  // namespace

Guarded start_guarded(char** arguments, char** environment, int output) {
  int fds[2];
  if (pipe(fds) < 0) return {};
  const Descriptor reader(fds[0]);
  Guarded guarded{-1, Descriptor(fds[1])};
  for (const int fd : fds) fcntl(fd, F_SETFD, FD_CLOEXEC);
  guarded.guardian = fork();
  if (guarded.guardian == 0) guard(arguments, environment, output, reader.get());
  return guarded;
}

}  // namespace kraken
