// Ranks that are processes: this program starts itself once for each, and stands between them while their
// communicators are made. They reach each other's memory by CUDA's IPC, or by descriptors for multicast
// memory.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <thread>

#include "checks.h"
#include "communicators.h"
#include "multicast.h"
#include "two_exchanges.h"

extern char** environ;

namespace kraken::test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kSocket = 3;  // of a rank's process
constexpr int kTurns = 10;
// Two scenarios lose the last rank. In one of them nobody tells, in the other the time would be too long.
constexpr const char* kTimeout = "killed, noticed by time";
constexpr const char* kAbort = "killed, aborted by the others";
constexpr milliseconds kShortTimeout{1500}, kLongTimeout{120000};

bool transfer(int socket, void* data, size_t bytes, bool sends) {
  auto* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t moved = sends ? send(socket, at, bytes, MSG_NOSIGNAL) : recv(socket, at, bytes, 0);
    if (moved <= 0) return false;
    at += moved;
    bytes -= static_cast<size_t>(moved);
  }
  return true;
}

// --- the process of a rank
// ------------------------------------------------------------------------------------------

int32_t gather(const void* mine, void* all, int64_t bytes, int ranks) {
  std::vector<char> own(static_cast<const char*>(mine), static_cast<const char*>(mine) + bytes);
  const bool met = transfer(kSocket, &bytes, sizeof bytes, true) &&
                   transfer(kSocket, own.data(), own.size(), true) &&
                   transfer(kSocket, all, static_cast<size_t>(bytes * ranks), false);
  return met ? 0 : 1;
}

void require(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

class RankProcess {
 public:
  RankProcess(int rank, int ranks, const CommunicatorOptions& options)
      : rank_(rank), ranks_(ranks), communicator_(make_communicator(rank, ranks, options, all_gather())) {
    KRAKEN_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    step_ = std::make_unique<TwoExchanges>();
    meet();
  }
  ~RankProcess() { cudaStreamDestroy(stream_); }
  RankProcess(const RankProcess&) = delete;
  RankProcess& operator=(const RankProcess&) = delete;

  plugins::DeviceCommunicator& communicator() { return *communicator_; }

  void meet() const {
    const char mine = 0;
    std::vector<char> all(static_cast<size_t>(ranks_));
    require(all_gather()(&mine, all.data(), 1) == 0, "the ranks could not meet");
  }

  void enqueue_step() { step_->enqueue(*communicator_, stream_); }
  void wait() const { KRAKEN_CUDA(cudaStreamSynchronize(stream_)); }

  void run_and_check(int turn) {
    const std::vector<double> x = TwoExchanges::input_of(rank_, turn);
    std::vector<char> bytes(x.size() * 4);
    for (size_t i = 0; i < x.size(); ++i) {
      encode(TwoExchanges::kDType, static_cast<float>(x[i]), &bytes[4 * i]);
    }
    KRAKEN_CUDA(cudaMemcpyAsync(step_->input(), bytes.data(), bytes.size(), cudaMemcpyDefault, stream_));
    enqueue_step();
    wait();
    const TwoExchangesResult want = step_->expected(ranks_, turn)[static_cast<size_t>(rank_)];
    for (const Check& check : {expect_close("y", step_->y().download(), want.y, 2e-5),
                               expect_close("total", step_->total().download(), want.total, 2e-5 * ranks_)}) {
      require(check.passed(), "turn " + std::to_string(turn) + ": " + check.name + " is off by " +
                                  std::to_string(check.error));
    }
    require(communicator_->failure().empty(), communicator_->failure());
  }

 private:
  AllGather all_gather() const {
    return [ranks = ranks_](const void* mine, void* all, int64_t bytes) {
      return gather(mine, all, bytes, ranks);
    };
  }

  int rank_, ranks_;
  std::unique_ptr<plugins::DeviceCommunicator> communicator_;
  std::unique_ptr<TwoExchanges> step_;
  cudaStream_t stream_ = nullptr;
};

// The rest of a rank's life when the last one has been killed.
void outlive(RankProcess& process, int lost, const std::string& scenario) {
  std::thread watcher;
  if (scenario == kAbort) {
    // The socket ends when a rank's process has: what watches the ranks of an engine knows as soon.
    watcher = std::thread([&] {
      char end;
      while (recv(kSocket, &end, 1, 0) > 0) continue;
      process.communicator().abort(lost);
    });
  }
  const auto begin = Clock::now();
  process.enqueue_step();
  process.wait();
  const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
  if (watcher.joinable()) watcher.join();
  const std::string failure = process.communicator().failure();
  const std::string named = "rank " + std::to_string(lost) + " ";
  require(failure.rfind(named, 0) == 0, "the lost rank is not named: " + failure);
  const milliseconds bound = scenario == kAbort ? kLongTimeout / 2 : kShortTimeout + seconds(20);
  require(took < bound, "it took " + std::to_string(took.count()) + " ms to notice");
}

// --- the program that starts them
// ------------------------------------------------------------------------------------

struct Process {
  pid_t id = -1;
  int socket = -1;
};

Process start_process(int rank, int ranks, const std::string& scenario) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    throw std::runtime_error("socketpair failed");
  // A number that dup2 below really changes, so that the copy outlives exec.
  const int given = fcntl(pair[1], F_DUPFD_CLOEXEC, kSocket + 1);
  close(pair[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, given, kSocket);
  std::array<std::string, 5> words = {"kraken-gpu-test", "--rank", std::to_string(rank),
                                      std::to_string(ranks), scenario};
  std::array<char*, 6> arguments{};
  for (size_t i = 0; i < words.size(); ++i) arguments[i] = words[i].data();
  Process process;
  process.socket = pair[0];
  const int error = posix_spawn(&process.id, "/proc/self/exe", &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(given);
  if (error != 0) {
    close(pair[0]);
    throw std::runtime_error("posix_spawn failed");
  }
  return process;
}

bool has_ended(const Process& process) {
  char byte;
  return recv(process.socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

// True when there is something to read from it; false when any of them has ended, or a minute has passed.
bool await(const std::vector<Process>& processes, const Process& one) {
  const auto end = Clock::now() + seconds(60);
  while (Clock::now() < end) {
    pollfd waits = {one.socket, POLLIN, 0};
    if (poll(&waits, 1, 1) > 0 && !has_ended(one)) return true;
    if (std::any_of(processes.begin(), processes.end(), has_ended)) return false;
  }
  return false;
}

// Serves all-gathers until a process ends or says nothing for a minute; then all are told by the end of
// theirs.
void serve(const std::vector<Process>& processes) {
  for (bool all_live = true; all_live;) {
    std::vector<char> records;
    for (const Process& one : processes) {
      int64_t bytes = 0;
      constexpr int64_t kMost = 1 << 20;
      all_live = all_live && await(processes, one) && transfer(one.socket, &bytes, sizeof bytes, false) &&
                 bytes >= 0 && bytes <= kMost;
      if (!all_live) break;
      const size_t before = records.size();
      records.resize(before + static_cast<size_t>(bytes));
      all_live = transfer(one.socket, &records[before], static_cast<size_t>(bytes), false);
    }
    for (const Process& one : processes) {
      all_live = all_live && transfer(one.socket, records.data(), records.size(), true);
    }
  }
  for (const Process& one : processes) close(one.socket);
}

int wait_for(const Process& process) {
  const auto end = Clock::now() + seconds(60);
  int status = 0;
  while (waitpid(process.id, &status, WNOHANG) == 0) {
    if (Clock::now() > end) {
      kill(process.id, SIGKILL);
      waitpid(process.id, &status, 0);
      break;
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
  return status;
}

Checks run_scenario(int ranks, const std::string& scenario) {
  std::vector<Process> processes;
  for (int rank = 0; rank < ranks; ++rank) processes.push_back(start_process(rank, ranks, scenario));
  serve(processes);
  Checks checks;
  const bool loses_one = scenario == kTimeout || scenario == kAbort;
  for (int rank = 0; rank < ranks; ++rank) {
    const int status = wait_for(processes[static_cast<size_t>(rank)]);
    const bool as_expected = loses_one && rank + 1 == ranks
                                 ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                                 : WIFEXITED(status) && WEXITSTATUS(status) == 0;
    checks.push_back(expect_true(
        "rank " + std::to_string(rank) + " ended with status " + std::to_string(status), as_expected));
  }
  return checks;
}

// Why processes cannot reach each other's memory here; empty when they may.
std::string obstacle_to_sharing() {
  const DeviceMemory memory = device_memory(1 << 20);
  cudaIpcMemHandle_t handle;
  const cudaError_t error = cudaIpcGetMemHandle(&handle, memory.get());
  if (error == cudaSuccess) return "";
  cudaGetLastError();
  return std::string("CUDA's IPC does not work here, as in some containers: ") + cudaGetErrorString(error);
}

}  // namespace

int run_rank_process(int rank, int ranks, const std::string& scenario) {
  // A rank that never comes must not stay for ever either.
  const timeval minute = {60, 0};
  setsockopt(kSocket, SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof minute);
  try {
    KRAKEN_CUDA(cudaSetDevice(device_of(rank)));
    const bool loses_one = scenario == kTimeout || scenario == kAbort;
    CommunicatorOptions options;
    options.timeout_ns = static_cast<uint64_t>(
        std::chrono::nanoseconds(scenario == kTimeout ? kShortTimeout : kLongTimeout).count());
    for (const kernels::Algorithm algorithm : kAlgorithms) {
      if (scenario == kernels::name_of(algorithm)) options.algorithms = table_of(algorithm, 2);
    }
    RankProcess process(rank, ranks, options);
    if (scenario == kernels::name_of(kernels::Algorithm::Multimem)) {
      const std::string transport = process.communicator().transport();
      require(obstacle(kernels::Algorithm::Multimem, transport).empty(),
              "threads had multicast memory, not " + transport);
    }
    for (int turn = 0; turn < kTurns; ++turn) process.run_and_check(turn);
    process.meet();
    if (!loses_one) return 0;
    if (rank + 1 == ranks) raise(SIGKILL);
    outlive(process, ranks - 1, scenario);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "  rank %d of %d processes, %s: %s\n", rank, ranks, scenario.c_str(), error.what());
    return 1;
  }
}

void check_processes(Report& report, int ranks) {
  if (const std::string obstacle = obstacle_to_sharing(); !obstacle.empty()) {
    report.add_skipped(std::to_string(ranks) + " processes", obstacle);
    return;
  }
  const auto check = [&](const std::string& scenario) {
    const std::string name = std::to_string(ranks) + " processes, " + scenario;
    report.add(name, run_scenario(ranks, scenario));
  };
  // Not NCCL: that ranks are processes is nothing to it.
  for (const kernels::Algorithm algorithm :
       {kernels::Algorithm::Folded, kernels::Algorithm::OneShot, kernels::Algorithm::TwoShot}) {
    check(kernels::name_of(algorithm));
  }
  const std::string multimem = kernels::name_of(kernels::Algorithm::Multimem);
  if (Multicast::is_available(ranks)) {
    check(multimem);
  } else {
    report.add_skipped(std::to_string(ranks) + " processes, " + multimem,
                       obstacle(kernels::Algorithm::Multimem, ""));
  }
  check(kTimeout);
  check(kAbort);
}

}  // namespace kraken::test
