// Ranks in a process of their own: the suite of executor_harness.h, and what only a process can do: be
// killed, stopped, missing, of another build, or no kraken-worker at all.
#include "worker/worker_executor.h"

#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "executor_harness.h"

namespace kraken::test {
namespace {

using namespace std::chrono_literals;

WorkerLaunch launch_of(const char* path) {
  WorkerLaunch launch = worker_launch(".");
  launch.path = path;
  return launch;
}

WorkerLaunch rude(const std::string& how) {
  WorkerLaunch launch = launch_of(KRAKEN_RUDE_WORKER);
  launch.environment.push_back("RUDE=" + how);
  return launch;
}

std::unique_ptr<WorkerExecutor> start_worker(const fake::ControlsFile& file, int ranks,
                                             const LocalExecutorConfig& config, ResponseSink sink,
                                             const WorkerLaunch& launch = launch_of(KRAKEN_FAKE_WORKER)) {
  return std::make_unique<WorkerExecutor>(file.options(ranks, config), launch, std::move(sink));
}

// An engine in a worker whose process the test knows.
struct WorkerEngine {
  explicit WorkerEngine(const WorkerLaunch& launch = launch_of(KRAKEN_FAKE_WORKER),
                        LocalExecutorConfig config = small_config())
      : executor(start_worker(file, 2, config, log.sink(), launch)) {}
  fake::Controls& controls() { return *file.controls; }
  pid_t pid() const { return executor->pid(); }

  Log log;
  fake::ControlsFile file;
  std::unique_ptr<WorkerExecutor> executor;  // first to go
};

void expect_works() {
  WorkerEngine engine;
  const Request request = plain(12, 20);
  EXPECT_EQ(engine.log.wait(engine.executor->enqueue(request)).tokens, alone(request, 0, 2));
}

// Neither running nor a zombie.
bool gone(pid_t pid) {
  return kill(pid, 0) != 0 && errno == ESRCH;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code() + ": " + error.what();
  }
  return "nothing";
}

size_t open_files() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/dev/fd")) ++count;
  return count;
}

std::vector<RequestId> begin_many(WorkerEngine& engine) {
  engine.controls().step_microseconds = 20'000;  // none ends by itself
  std::vector<RequestId> ids;
  for (int i = 0; i < 30; ++i) ids.push_back(engine.executor->enqueue(plain(20 + i, 150)));
  engine.log.wait_for_events(ids[0], 2);
  return ids;
}

void expect_lost(WorkerEngine& engine, const std::vector<RequestId>& ids, const std::string& why) {
  for (RequestId id : ids) {
    const auto sample = engine.log.wait(id);
    EXPECT_EQ(sample.last.finish, FinishReason::Error);
    EXPECT_EQ(sample.last.error_code, "ERR_RANK_LOST");
    EXPECT_NE(sample.last.error_message.find(why), std::string::npos) << sample.last.error_message;
  }
}

INSTANTIATE_TEST_SUITE_P(Worker, ExecutorSuite,
                         testing::Values(Implementation{
                             "Worker",
                             [](const fake::ControlsFile& file, int ranks, const LocalExecutorConfig& config,
                                ResponseSink sink) -> std::unique_ptr<Executor> {
                               return start_worker(file, ranks, config, std::move(sink));
                             }}),
                         [](const auto& info) { return info.param.name; });

TEST(WorkerExecutor, AKilledWorkerFailsEverythingAtOnce) {
  for (int signal : {SIGKILL, SIGTERM, SIGABRT}) {
    WorkerEngine engine;
    const auto ids = begin_many(engine);
    const auto killed = Clock::now();
    ASSERT_EQ(kill(engine.pid(), signal), 0);
    expect_lost(engine, ids, signal == SIGTERM ? "SIGTERM" : signal == SIGKILL ? "SIGKILL" : "");
    EXPECT_LT(Clock::now() - killed, 1s);
    const std::string refusal = message_of([&] { engine.executor->enqueue(plain()); });
    EXPECT_EQ(refusal.rfind("ERR_RANK_LOST: the engine failed before: kraken-worker (process ", 0), 0u)
        << refusal;
    EXPECT_TRUE(eventually([&] { return gone(engine.pid()); }));
    EXPECT_EQ(engine.executor->stats().failed, ids.size());
    EXPECT_EQ(engine.executor->stats().running + engine.executor->stats().waiting, 0);
    engine.executor->cancel(ids[0]);
    engine.executor->shutdown();
    expect_works();
  }
}

TEST(WorkerExecutor, AStoppedWorkerIsLostWithinItsBound) {
  WorkerLaunch launch = launch_of(KRAKEN_FAKE_WORKER);
  launch.heartbeat = 50ms;
  WorkerEngine engine(launch);
  const auto ids = begin_many(engine);
  ASSERT_EQ(kill(engine.pid(), SIGSTOP), 0);
  const auto stopped = Clock::now();
  // Neither call waits for it for long.
  engine.executor->enqueue(plain());
  engine.executor->stats();
  EXPECT_LT(Clock::now() - stopped, 500ms);
  expect_lost(engine, ids, "no sign of life");
  EXPECT_LT(Clock::now() - stopped, launch.heartbeat * (launch.missed_heartbeats + 2) + 1s);
  EXPECT_TRUE(eventually([&] { return gone(engine.pid()); }));  // though SIGTERM does not end it
  EXPECT_EQ(code_of([&] { engine.executor->enqueue(plain()); }), "ERR_RANK_LOST");
  expect_works();
}

TEST(WorkerExecutor, AWorkerThatGoesOnInTimeIsNotLost) {
  WorkerLaunch launch = launch_of(KRAKEN_FAKE_WORKER);
  launch.heartbeat = 100ms;
  WorkerEngine engine(launch);
  engine.controls().step_microseconds = 500;
  const Request request = plain(10, 150);
  const RequestId id = engine.executor->enqueue(request);
  engine.log.wait_for_events(id, 2);
  ASSERT_EQ(kill(engine.pid(), SIGSTOP), 0);
  std::this_thread::sleep_for(launch.heartbeat * 4);
  ASSERT_EQ(kill(engine.pid(), SIGCONT), 0);
  EXPECT_EQ(engine.log.wait(id).tokens, alone(request, 0, 2));
}

TEST(WorkerExecutor, AnIdleWorkerThatDiesIsNoticedByTheNextRequest) {
  WorkerEngine engine;
  ASSERT_EQ(kill(engine.pid(), SIGKILL), 0);
  EXPECT_TRUE(
      eventually([&] { return code_of([&] { engine.executor->enqueue(plain()); }) == "ERR_RANK_LOST"; }));
  EXPECT_TRUE(gone(engine.pid()));
}

TEST(WorkerExecutor, ARankThatCrashesTakesItsSiblingsAlong) {
  WorkerEngine engine;
  engine.controls().failure = fake::Failure::Crash;
  engine.controls().fail_rank = 1;
  engine.controls().fail_step = 3;
  expect_lost(engine, {engine.executor->enqueue(plain(10, 100))}, "SIGKILL");
  EXPECT_TRUE(eventually([&] { return gone(engine.pid()); }));
}

TEST(WorkerExecutor, ShutdownDoesNotWaitForARankThatHangs) {
  WorkerLaunch launch = launch_of(KRAKEN_FAKE_WORKER);
  launch.shutdown_timeout = 200ms;
  WorkerEngine engine(launch);
  engine.controls().failure = fake::Failure::Hang;
  engine.controls().fail_step = 1;
  const RequestId id = engine.executor->enqueue(plain(10, 100));
  engine.log.wait_for_events(id, 1);
  const auto from = Clock::now();
  engine.executor->shutdown();
  EXPECT_LT(Clock::now() - from, 2s);
  EXPECT_EQ(engine.log.wait(id).last.finish, FinishReason::Cancelled);
  EXPECT_EQ(code_of([&] { engine.executor->enqueue(plain()); }), "ERR_DISPOSED");
  EXPECT_TRUE(gone(engine.pid()));
}

TEST(WorkerExecutor, LoadingCanFailHangAndBeAborted) {
  const fake::ControlsFile file;
  const auto load = [&](const std::atomic<bool>* cancelled) {
    WorkerExecutor(
        file.options(2, small_config()), launch_of(KRAKEN_FAKE_WORKER), [](std::vector<Response>&&) {},
        cancelled);
  };
  file.controls->failure = fake::Failure::Crash;
  file.controls->fail_load_rank = 1;
  const std::string crash = message_of([&] { load(nullptr); });
  EXPECT_EQ(crash.rfind("ERR_RANK_LOST", 0), 0u) << crash;
  EXPECT_NE(crash.find("while it loaded"), std::string::npos) << crash;
  for (const auto failure : {fake::Failure::Hang, fake::Failure::RuntimeError}) {
    file.controls->failure = failure;
    file.controls->fail_load_rank = failure == fake::Failure::Hang ? 1 : -1;
    file.controls->load_milliseconds = 60'000;
    std::atomic<bool> cancelled{false};
    std::thread aborting([&] {
      std::this_thread::sleep_for(100ms);
      cancelled = true;
    });
    const auto from = Clock::now();
    EXPECT_EQ(code_of([&] { load(&cancelled); }), "ERR_ABORTED");
    EXPECT_LT(Clock::now() - from, 2s);
    aborting.join();
  }
  file.controls->load_milliseconds = 0;
  EXPECT_EQ(code_of([&] { load(nullptr); }), "nothing");
}

TEST(WorkerExecutor, AWorkerThatIsMissingOrDoesNotFitIsRefusedWithTheRemedy) {
  const fake::ControlsFile file;
  const auto load = [&](WorkerLaunch launch) {
    launch.start_timeout = 300ms;
    return message_of([&] {
      start_worker(
          file, 2, small_config(), [](std::vector<Response>&&) {}, launch);
    });
  };
  std::vector<WorkerLaunch> wrong = {launch_of("/nowhere/kraken-worker"), launch_of("/etc/passwd"),
                                     launch_of("/bin/true"), launch_of("/")};
  for (const char* how : {"exit", "garbage", "silence", "other build", "other protocol", "other magic"}) {
    wrong.push_back(rude(how));
  }
  for (const WorkerLaunch& launch : wrong) {
    const std::string message = load(launch);
    EXPECT_EQ(message.rfind("ERR_NATIVE_LOAD", 0), 0u) << message;
    EXPECT_NE(message.find("npm run setup"), std::string::npos) << message;
  }
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(WorkerExecutor, WhatCannotBeEndsTheConversation) {
  for (const char* how : {"stranger", "sample", "token", "credit", "type", "twice", "close"}) {
    WorkerEngine engine(rude(how));
    const auto sample = engine.log.wait(engine.executor->enqueue(plain()));
    EXPECT_EQ(sample.last.error_code, "ERR_RANK_LOST") << how;
    EXPECT_TRUE(eventually([&] { return gone(engine.pid()); })) << how;
    EXPECT_EQ(code_of([&] { engine.executor->enqueue(plain()); }), "ERR_RANK_LOST");
  }
  WorkerEngine engine(rude("good, then bad"));
  const auto sample = engine.log.wait(engine.executor->enqueue(plain()));
  EXPECT_EQ(sample.last.finish, FinishReason::Length);  // what was accounted for arrives
  EXPECT_EQ(sample.tokens, std::vector<int32_t>{3});
}

TEST(WorkerExecutor, AFloodIsBoundedByTheQueue) {
  LocalExecutorConfig config = small_config();
  config.max_queue = 50;
  WorkerEngine engine(launch_of(KRAKEN_FAKE_WORKER), config);
  engine.controls().blocked = true;
  std::vector<RequestId> accepted;
  int refused = 0;
  for (int i = 0; i < 10'000; ++i) {
    try {
      accepted.push_back(engine.executor->enqueue(plain(150, 5)));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "ERR_QUEUE_FULL");
      ++refused;
    }
  }
  EXPECT_GE(accepted.size(), 50u);
  EXPECT_LE(accepted.size(), 50u + 8u);  // and those in the step
  EXPECT_EQ(static_cast<int>(accepted.size()) + refused, 10'000);
  engine.controls().blocked = false;
  for (RequestId id : accepted) EXPECT_EQ(engine.log.wait(id).last.finish, FinishReason::Length);
  engine.log.wait(engine.executor->enqueue(plain()));
}

// A stopped worker reads nothing: what is sent to it stays here, and that has a bound.
TEST(WorkerExecutor, AFloodForAStoppedWorkerIsBoundedToo) {
  LocalExecutorConfig config = small_config();
  config.max_queue = 30;
  WorkerLaunch launch = launch_of(KRAKEN_FAKE_WORKER);
  launch.heartbeat = 200ms;
  WorkerEngine engine(launch, config);
  ASSERT_EQ(kill(engine.pid(), SIGSTOP), 0);
  Request large = plain(150, 5);
  large.sampling.logit_bias.resize(20'000, {3, 0.5f});  // 160 kB each: far more than a socket holds
  std::vector<RequestId> accepted;
  while (accepted.size() < 30) accepted.push_back(engine.executor->enqueue(large));
  EXPECT_EQ(code_of([&] { engine.executor->enqueue(large); }), "ERR_QUEUE_FULL");
  expect_lost(engine, accepted, "no sign of life");
}

TEST(WorkerExecutor, LeavesNoFilesAndNoChildren) {
  expect_works();
  const size_t before = open_files();
  for (int i = 0; i < 10; ++i) {
    WorkerEngine engine;
    engine.executor->enqueue(plain(10, 100));
    if (i % 2) kill(engine.pid(), SIGKILL);
  }
  EXPECT_EQ(open_files(), before);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

TEST(WorkerExecutor, TimesCountFromEnqueue) {
  WorkerEngine engine;
  const auto sample = engine.log.wait(engine.executor->enqueue(plain(10, 5)));
  EXPECT_GT(sample.last.first_token_ms, 0);
  EXPECT_GE(sample.last.first_token_ms, sample.last.queue_ms);
  EXPECT_GE(sample.last.total_ms, sample.last.first_token_ms);
}

}  // namespace
}  // namespace kraken::test
