// What can go wrong around any Executor: refusals, cancellation, a failing rank, shutdown.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "executor_harness.h"

namespace kraken::test {

TEST_P(ExecutorSuite, RefusesWhatItCannotServe) {
  Engine engine(GetParam(), 1);
  Executor& executor = *engine.executor;
  EXPECT_EQ(code_of([&] { executor.enqueue(Request{}); }), "ERR_EMPTY_PROMPT");
  EXPECT_EQ(code_of([&] { executor.enqueue(plain(200)); }), "ERR_CONTEXT_LENGTH");
  Request request = plain();
  request.prompt[1] = fake::kVocab;
  EXPECT_EQ(code_of([&] { executor.enqueue(request); }), "ERR_TOKEN_RANGE");
  request = plain();
  request.sampling.logit_bias = {{-1, 1.0f}};
  EXPECT_EQ(code_of([&] { executor.enqueue(request); }), "ERR_TOKEN_RANGE");
  request = plain(5, 0);
  EXPECT_EQ(code_of([&] { executor.enqueue(request); }), "ERR_OPTION");
  LocalExecutorConfig config = small_config();
  config.kv_blocks = 2;
  Engine tiny(GetParam(), 1, config);
  EXPECT_EQ(code_of([&] { tiny.executor->enqueue(plain(17)); }), "ERR_OUT_OF_KV_CACHE");
  const auto sample = tiny.log.wait(tiny.executor->enqueue(plain(10, 50)));
  EXPECT_EQ(sample.last.finish, FinishReason::Error);
  EXPECT_EQ(sample.last.error_code, "ERR_OUT_OF_KV_CACHE");
  EXPECT_EQ(sample.tokens.size(), 7u);
  const auto after = tiny.log.wait(tiny.executor->enqueue(plain(10, 4)));  // the engine goes on
  EXPECT_EQ(after.last.finish, FinishReason::Length);
}

TEST_P(ExecutorSuite, TheQueueHasABound) {
  LocalExecutorConfig config = small_config();
  config.max_queue = 3;
  config.max_batch_size = 1;
  Engine engine(GetParam(), 2, config);
  engine.controls->blocked = true;
  std::vector<RequestId> ids = {engine.executor->enqueue(plain())};
  ASSERT_TRUE(eventually([&] { return engine.controls->steps > 0; }));
  EXPECT_EQ(engine.executor->stats().waiting, 0);  // by now it is known that the first left the queue
  for (int i = 0; i < 3; ++i) ids.push_back(engine.executor->enqueue(plain()));
  EXPECT_EQ(code_of([&] { engine.executor->enqueue(plain()); }), "ERR_QUEUE_FULL");
  EXPECT_EQ(engine.executor->stats().waiting, 3);
  engine.executor->cancel(ids[2]);
  engine.unblock();
  for (RequestId id : ids) engine.log.wait(id);
  EXPECT_EQ(engine.log.wait(ids[2]).last.finish, FinishReason::Cancelled);
  engine.log.wait(engine.executor->enqueue(plain()));  // there is room again
  EXPECT_EQ(engine.executor->stats().cancelled, 1u);
}

TEST_P(ExecutorSuite, CancelsInEveryPhase) {
  LocalExecutorConfig config = small_config();
  config.max_step_tokens = 16;
  config.max_batch_size = 2;
  config.max_rows = 2 + 16;
  Engine engine(GetParam(), 2, config);
  engine.controls->step_microseconds = 500;
  // Decoding.
  RequestId id = engine.executor->enqueue(plain(5, 190));
  engine.log.wait_for_events(id, 3);
  engine.executor->cancel(id);
  auto sample = engine.log.wait(id);
  EXPECT_EQ(sample.last.finish, FinishReason::Cancelled);
  EXPECT_EQ(sample.last.token, -1);
  EXPECT_LT(sample.tokens.size(), 190u);
  // In the middle of its prompt.
  engine.controls->blocked = true;
  const int steps = engine.controls->steps;
  id = engine.executor->enqueue(plain(150, 10));
  ASSERT_TRUE(eventually([&] { return engine.controls->steps > steps; }));
  engine.executor->cancel(id);
  engine.unblock();
  sample = engine.log.wait(id);
  EXPECT_EQ(sample.last.finish, FinishReason::Cancelled);
  EXPECT_TRUE(sample.tokens.empty());
  EXPECT_EQ(engine.controls->steps, steps + 1);
  // Waiting, behind two that run; with samples of its own.
  const RequestId a = engine.executor->enqueue(plain(5, 30)), b = engine.executor->enqueue(plain(6, 30));
  Request several = plain(7, 30);
  several.samples = 3;
  id = engine.executor->enqueue(several);
  engine.executor->cancel(id);
  for (int32_t n = 0; n < 3; ++n) EXPECT_EQ(engine.log.wait(id, n).last.finish, FinishReason::Cancelled);
  EXPECT_EQ(engine.log.wait(a).last.finish, FinishReason::Length);
  EXPECT_EQ(engine.log.wait(b).last.finish, FinishReason::Length);
  // Ended, or never there.
  engine.executor->cancel(a);
  engine.executor->cancel(123456);
  EXPECT_EQ(engine.log.wait(engine.executor->enqueue(plain())).last.finish, FinishReason::Length);
  EXPECT_EQ(engine.executor->stats().kv_blocks_used, 0);
}

TEST_P(ExecutorSuite, AFailingRankFailsEverythingPendingAndNothingHangs) {
  struct Case {
    fake::Failure failure;
    const char* code;
  };
  const Case cases[] = {
      {fake::Failure::RuntimeError, "ERR_RANK_LOST"},
      {fake::Failure::BadAlloc, "ERR_OUT_OF_MEMORY"},
      {fake::Failure::Internal, "ERR_INTERNAL"},
  };
  for (int rank : {0, 1, 3}) {
    for (const Case& one : cases) {
      Engine engine(GetParam(), 4);
      engine.controls->failure = one.failure;
      engine.controls->fail_rank = rank;
      engine.controls->fail_step = 7;
      // Until all have arrived: one that comes after the failure is refused, which is another matter.
      engine.controls->blocked = true;
      std::vector<RequestId> ids;
      for (int i = 0; i < 20; ++i) ids.push_back(engine.executor->enqueue(plain(20 + i, 100)));
      engine.unblock();
      for (RequestId id : ids) {
        const auto sample = engine.log.wait(id);
        EXPECT_EQ(sample.last.finish, FinishReason::Error);
        EXPECT_EQ(sample.last.error_code, one.code);
        EXPECT_FALSE(sample.last.error_message.empty());
      }
      EXPECT_EQ(code_of([&] { engine.executor->enqueue(plain()); }), "ERR_RANK_LOST");
      const ExecutorStats stats = engine.executor->stats();
      EXPECT_EQ(stats.failed, ids.size());
      EXPECT_EQ(stats.running + stats.waiting, 0);
      EXPECT_NE(stats.closed.find("the engine failed before"), std::string::npos) << stats.closed;
      engine.executor->cancel(ids[0]);
      engine.executor->shutdown();
    }
  }
}

TEST_P(ExecutorSuite, ARankThatFailsWhileMeasuringFailsThatRequestToo) {
  Engine engine(GetParam(), 2);
  engine.controls->fail_rank = 1;
  engine.controls->fail_step = 0;
  Request products = plain(8, 1);
  products.kind = Request::Kind::Products;
  const auto measured = engine.log.wait(engine.executor->enqueue(products));
  EXPECT_EQ(measured.last.finish, FinishReason::Error);
  EXPECT_EQ(measured.last.error_code, "ERR_RANK_LOST");
  EXPECT_TRUE(measured.values.empty());
}

TEST_P(ExecutorSuite, LogitsThatAreNoNumbersFailOnlyTheirRequest) {
  Engine engine(GetParam(), 2);
  engine.controls->poison = true;
  const auto sample = engine.log.wait(engine.executor->enqueue(plain()));
  EXPECT_EQ(sample.last.finish, FinishReason::Error);
  EXPECT_EQ(sample.last.error_code, "ERR_CHECKPOINT_VALUES");
  Request score = plain();
  score.kind = Request::Kind::Score;
  EXPECT_EQ(engine.log.wait(engine.executor->enqueue(score)).last.error_code, "ERR_CHECKPOINT_VALUES");
  engine.controls->poison = false;
  EXPECT_EQ(engine.log.wait(engine.executor->enqueue(plain())).last.finish, FinishReason::Length);
}

TEST_P(ExecutorSuite, ShutdownGivesEveryRequestItsLastEvent) {
  Engine engine(GetParam(), 4);
  engine.controls->step_microseconds = 300;
  std::vector<RequestId> ids;
  for (int i = 0; i < 30; ++i) {
    Request request = plain(40, 150);
    request.samples = 1 + i % 2;
    ids.push_back(engine.executor->enqueue(request));
  }
  engine.log.wait_for_events(ids[0], 2);
  engine.executor->shutdown();
  for (size_t i = 0; i < ids.size(); ++i) {
    for (int32_t n = 0; n < 1 + static_cast<int32_t>(i % 2); ++n) {
      EXPECT_EQ(engine.log.wait(ids[i], n).last.finish, FinishReason::Cancelled);
    }
  }
  EXPECT_EQ(code_of([&] { engine.executor->enqueue(plain()); }), "ERR_DISPOSED");
  engine.executor->shutdown();
  engine.executor->cancel(ids[0]);
  EXPECT_EQ(engine.executor->stats().cancelled, 45u);
}

TEST_P(ExecutorSuite, ManyThreadsEnqueueCancelAskAndShutDown) {
  for (int round = 0; round < 5; ++round) {
    Engine engine(GetParam(), 3);
    std::vector<std::thread> threads;
    std::mutex mutex;
    std::vector<RequestId> ids;
    for (unsigned t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random(t);
        for (int i = 0; i < 25; ++i) {
          try {
            const RequestId id = engine.executor->enqueue(plain(1 + static_cast<int>(random() % 50), 20));
            if (random() % 3 == 0) engine.executor->cancel(id);
            std::lock_guard lock(mutex);
            ids.push_back(id);
          } catch (const Error& error) {
            EXPECT_EQ(error.code(), "ERR_DISPOSED");
            break;
          }
          engine.executor->stats();
        }
      });
    }
    if (round % 2) {
      for (int i = 0; i < 2; ++i) threads.emplace_back([&] { engine.executor->shutdown(); });
    }
    for (std::thread& thread : threads) thread.join();
    for (RequestId id : ids) engine.log.wait(id);
  }
}

TEST_P(ExecutorSuite, LoadingFailuresAreThrownAndJoined) {
  const fake::ControlsFile file;
  const auto load = [&] { GetParam().start(file, 3, small_config(), [](std::vector<Response>&&) {}); };
  for (int failing : {0, 2}) {
    file.controls->fail_load_rank = failing;
    file.controls->failure = fake::Failure::EngineCorrupt;
    EXPECT_EQ(code_of(load), "ERR_ENGINE_CORRUPT");
    file.controls->failure = fake::Failure::BadAlloc;
    EXPECT_EQ(code_of(load), "ERR_OUT_OF_MEMORY");
  }
  file.controls->fail_load_rank = -1;
  EXPECT_EQ(code_of(load), "nothing");
}

TEST_P(ExecutorSuite, ASinkMayCancelAndShutDown) {
  const fake::ControlsFile file;
  file.controls->step_microseconds = 2000;  // neither request ends before it is told to
  std::atomic<Executor*> executor{nullptr};
  std::atomic<int> cancelled{0};
  {
    const auto one = GetParam().start(file, 2, small_config(), [&](std::vector<Response>&& events) {
      for (const Response& event : events) {
        if (event.finish == FinishReason::Cancelled) ++cancelled;
        if (event.request == 1) executor.load()->cancel(1);
        if (event.request == 2) executor.load()->shutdown();
      }
    });
    executor = one.get();
    one->enqueue(plain(5, 100));
    EXPECT_TRUE(eventually([&] { return cancelled == 1; }));
    one->enqueue(plain(5, 100));
    EXPECT_TRUE(eventually([&] { return cancelled == 2; }));
  }
  EXPECT_EQ(cancelled, 2);
}

}  // namespace kraken::test
