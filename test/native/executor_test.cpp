// The LocalExecutor over a fake model: whatever happens around a request, it gives what it would have given
// alone.
#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <new>
#include <random>

#include "base/error.h"
#include "comm/local/local_group.h"
#include "fake_backend.h"
#include "runtime/limits.h"
#include "runtime/local_executor.h"
#include "runtime/sampler.h"

namespace kraken {
namespace {

using Key = std::pair<RequestId, int32_t>;

// Everything the executor said, by sample.
class Log {
 public:
  struct Sample {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs, values;
    Response last;
    int events = 0;
    bool done = false;
  };

  ResponseSink sink() {
    return [this](std::vector<Response>&& events) {
      std::lock_guard lock(mutex_);
      EXPECT_FALSE(events.empty());
      ++calls;
      for (Response& event : events) {
        Sample& sample = samples_[{event.request, event.sample}];
        EXPECT_FALSE(sample.done) << "an event after the last";
        ++sample.events;
        if (event.token >= 0) {
          sample.tokens.push_back(event.token);
          sample.logprobs.push_back(event.logprob);
        }
        if (!event.values.empty()) {
          EXPECT_EQ(event.first_row * row_width, static_cast<int32_t>(sample.values.size()));
          sample.values.insert(sample.values.end(), event.values.begin(), event.values.end());
        }
        if (event.finish != FinishReason::None) sample.done = true;
        sample.last = std::move(event);
      }
      changed_.notify_all();
    };
  }

  // Waits (with a bound, so that a hang is a failure) for the last event.
  Sample wait(RequestId id, int32_t sample = 0) {
    return wait_until({id, sample}, [](const Sample& s) { return s.done; });
  }
  Sample wait_for_events(RequestId id, int events) {
    return wait_until({id, 0}, [=](const Sample& s) { return s.events >= events; });
  }
  bool any(RequestId id) {
    std::lock_guard lock(mutex_);
    return samples_.count({id, 0}) > 0;
  }

  int row_width = 1;  // of values
  std::atomic<int> calls{0};

 private:
  template <class Condition>
  Sample wait_until(Key key, const Condition& condition) {
    std::unique_lock lock(mutex_);
    const bool in_time =
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return condition(samples_[key]); });
    EXPECT_TRUE(in_time) << "no event for request " << key.first;
    return samples_[key];
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Key, Sample> samples_;
};

LocalExecutorConfig small_config() {
  LocalExecutorConfig config;
  config.vocab = fake::kVocab;
  config.kv_blocks = 64;
  config.kv_block_tokens = 8;
  config.max_batch_size = 8;
  config.max_sequence_length = 200;
  config.max_step_tokens = 64;
  config.prefill_chunk = 16;
  config.max_rows = 8 + 16;
  config.max_queue = 1000;
  return config;
}

struct Engine {
  explicit Engine(int rank_count, LocalExecutorConfig config = small_config())
      : ranks(rank_count),
        controls(std::make_shared<fake::Controls>()),
        executor(std::make_unique<LocalExecutor>(config, fake::Model::factories(rank_count, config, controls),
                                                 log.sink())) {}
  int ranks;
  Log log;
  std::shared_ptr<fake::Controls> controls;
  std::unique_ptr<LocalExecutor> executor;  // first to go
};

Request random_request(std::mt19937& random, int longest = 90) {
  Request request;
  const int length = 1 + static_cast<int>(random() % static_cast<unsigned>(longest));
  for (int i = 0; i < length; ++i) request.prompt.push_back(static_cast<int32_t>(random() % fake::kVocab));
  SamplingParams& sampling = request.sampling;
  sampling.max_tokens = 1 + static_cast<int32_t>(random() % 40);
  sampling.temperature = random() % 2 ? 0.0f : 0.8f;
  sampling.seed = random();
  if (random() % 3 == 0) sampling.top_k = 5;
  if (random() % 3 == 0) sampling.top_p = 0.8f;
  if (random() % 3 == 0) sampling.presence_penalty = 0.7f;
  if (random() % 4 == 0) sampling.repetition_penalty = 1.2f;
  if (random() % 4 == 0) sampling.stop_tokens = {static_cast<int32_t>(random() % fake::kVocab), 11};
  if (random() % 2) sampling.min_tokens = 3;
  if (random() % 2) sampling.logprobs = 2;
  return request;
}

// What a request gives with nothing around it: no cache, no batch, no ranks.
std::vector<int32_t> alone(const Request& request, int32_t sample, int ranks, FinishReason* finish = nullptr,
                           int max_length = 200) {
  Sampler sampler(request.sampling, sample, request.prompt);
  SamplerWorkspace workspace(fake::kVocab);
  std::vector<int32_t> tokens = request.prompt, output;
  for (;;) {
    const int32_t token = sampler.sample(fake::logits_after(tokens, ranks), workspace).token;
    sampler.accept(token);
    tokens.push_back(token);
    output.push_back(token);
    const bool stop = sampler.is_stop_token(token);
    if (finish) *finish = stop ? FinishReason::Stop : FinishReason::Length;
    if (stop || static_cast<int>(output.size()) == request.sampling.max_tokens ||
        static_cast<int>(tokens.size()) == max_length) {
      return output;
    }
  }
}

std::string code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return "nothing";
}

Request plain(int length = 5, int max_tokens = 10) {
  Request request;
  for (int i = 0; i < length; ++i) request.prompt.push_back(i % fake::kVocab);
  request.sampling.temperature = 0;
  request.sampling.max_tokens = max_tokens;
  return request;
}

TEST(Executor, OneRequestOnAnyNumberOfRanks) {
  for (int ranks : {1, 2, 4}) {
    Engine engine(ranks);
    const Request request = plain(30, 50);
    const auto sample = engine.log.wait(engine.executor->enqueue(request));
    EXPECT_EQ(sample.tokens, alone(request, 0, ranks));
    EXPECT_EQ(sample.last.finish, FinishReason::Length);
    EXPECT_GE(sample.last.total_ms, sample.last.first_token_ms);
    EXPECT_GE(sample.last.first_token_ms, sample.last.queue_ms);
    EXPECT_TRUE(std::isnan(sample.logprobs[0]));  // not asked for
  }
}

// 64 requests at random times, some cancelled, under a cache that holds a few of them: all finish, and what
// they generate is what they generate alone.
void run_mixed_load(int ranks, int kv_blocks, bool expect_preemption) {
  LocalExecutorConfig config = small_config();
  config.kv_blocks = kv_blocks;
  Engine engine(ranks, config);
  std::mt19937 random(static_cast<unsigned>(kv_blocks));
  std::vector<std::pair<RequestId, Request>> requests;
  std::vector<bool> cancelled;
  for (int i = 0; i < 64; ++i) {
    Request request = random_request(random);
    request.samples = random() % 5 == 0 ? 3 : 1;
    requests.emplace_back(engine.executor->enqueue(request), request);
    cancelled.push_back(random() % 6 == 0);
    if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    if (i > 3 && cancelled[static_cast<size_t>(i - 3)])
      engine.executor->cancel(requests[static_cast<size_t>(i - 3)].first);
  }
  for (size_t i = 61; i < 64; ++i) {
    if (cancelled[i]) engine.executor->cancel(requests[i].first);
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto& [id, request] = requests[i];
    for (int32_t n = 0; n < request.samples; ++n) {
      const auto sample = engine.log.wait(id, n);
      FinishReason finish;
      std::vector<int32_t> expected = alone(request, n, ranks, &finish);
      if (sample.last.finish == FinishReason::Cancelled) {
        EXPECT_TRUE(cancelled[i]);
        ASSERT_LE(sample.tokens.size(), expected.size());
        expected.resize(sample.tokens.size());
      } else {
        EXPECT_EQ(sample.last.finish, finish);
      }
      EXPECT_EQ(sample.tokens, expected) << "request " << id << " sample " << n;
    }
  }
  const ExecutorStats stats = engine.executor->stats();
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_EQ(stats.failed, 0u);
  EXPECT_EQ(stats.exposed_ms.size(), static_cast<size_t>(ranks));
  if (expect_preemption) {
    EXPECT_GT(stats.preemptions, 0u);
  }
  EXPECT_LE(engine.controls->largest_step, config.max_step_tokens);
}

TEST(Executor, MixedLoadEqualsRunningAlone) {
  run_mixed_load(2, 200, false);
}
TEST(Executor, MixedLoadUnderATinyCache) {
  run_mixed_load(1, 25, true);
}
TEST(Executor, MixedLoadFourRanksTinyCache) {
  run_mixed_load(4, 27, true);
}

TEST(Executor, ScoreAndLogits) {
  LocalExecutorConfig config = small_config();
  config.kv_blocks = 26;
  Engine engine(2, config);
  std::mt19937 random(8);
  std::vector<std::pair<RequestId, Request>> scores;
  std::vector<RequestId> noise;
  for (int i = 0; i < 12; ++i) {
    Request request = random_request(random, 150);
    request.kind = Request::Kind::Score;
    if (i == 0) request.prompt.resize(1);
    scores.emplace_back(engine.executor->enqueue(request), request);
    noise.push_back(engine.executor->enqueue(random_request(random)));
  }
  for (const auto& [id, request] : scores) {
    const auto sample = engine.log.wait(id);
    EXPECT_EQ(sample.last.finish, FinishReason::Length);
    ASSERT_EQ(sample.values.size(), request.prompt.size());
    EXPECT_TRUE(std::isnan(sample.values[0]));
    for (size_t i = 1; i < request.prompt.size(); ++i) {
      const auto logits = fake::logits_after({request.prompt.data(), i}, 2);
      ASSERT_EQ(sample.values[i], token_logprob(logits, request.prompt[i])) << i;
    }
  }
  for (RequestId id : noise) engine.log.wait(id);

  Engine wide(2);
  wide.log.row_width = fake::kVocab;
  Request request = random_request(random);
  request.kind = Request::Kind::Logits;
  request.prompt.resize(40, 3);
  const auto sample = wide.log.wait(wide.executor->enqueue(request));
  ASSERT_EQ(sample.values.size(), request.prompt.size() * fake::kVocab);
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    const auto logits = fake::logits_after({request.prompt.data(), i + 1}, 2);
    EXPECT_TRUE(std::equal(logits.begin(), logits.end(),
                           sample.values.begin() + static_cast<ptrdiff_t>(i * fake::kVocab)));
  }
}

TEST(Executor, EndsAtTheLastPosition) {
  Engine engine(1);
  const auto sample = engine.log.wait(engine.executor->enqueue(plain(190, 1000)));
  EXPECT_EQ(sample.tokens.size(), 10u);
  EXPECT_EQ(sample.last.finish, FinishReason::Length);
}

TEST(Executor, StopTokensEndAndAreReported) {
  Engine engine(1);
  Request request = plain(4, 50);
  const auto expected = alone(request, 0, 1);
  request.sampling.stop_tokens = {expected[5]};
  const auto sample = engine.log.wait(engine.executor->enqueue(request));
  EXPECT_EQ(sample.last.finish, FinishReason::Stop);
  EXPECT_EQ(sample.tokens.back(), expected[5]);
  EXPECT_EQ(sample.tokens, alone(request, 0, 1));
}

TEST(Executor, RefusesWhatItCannotServe) {
  Engine engine(1);
  LocalExecutor& executor = *engine.executor;
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
  Engine tiny(1, config);
  EXPECT_EQ(code_of([&] { tiny.executor->enqueue(plain(17)); }), "ERR_OUT_OF_KV_CACHE");
  const auto sample = tiny.log.wait(tiny.executor->enqueue(plain(10, 50)));
  EXPECT_EQ(sample.last.finish, FinishReason::Error);
  EXPECT_EQ(sample.last.error_code, "ERR_OUT_OF_KV_CACHE");
  EXPECT_EQ(sample.tokens.size(), 7u);
  const auto after = tiny.log.wait(tiny.executor->enqueue(plain(10, 4)));  // the engine goes on
  EXPECT_EQ(after.last.finish, FinishReason::Length);
}

TEST(Executor, TheQueueHasABound) {
  LocalExecutorConfig config = small_config();
  config.max_queue = 3;
  config.max_batch_size = 1;
  Engine engine(2, config);
  engine.controls->blocked = true;
  std::vector<RequestId> ids = {engine.executor->enqueue(plain())};
  while (engine.controls->steps == 0) std::this_thread::yield();
  for (int i = 0; i < 3; ++i) ids.push_back(engine.executor->enqueue(plain()));
  EXPECT_EQ(code_of([&] { engine.executor->enqueue(plain()); }), "ERR_QUEUE_FULL");
  EXPECT_EQ(engine.executor->stats().waiting, 3);
  engine.executor->cancel(ids[2]);
  engine.controls->blocked = false;
  for (RequestId id : ids) engine.log.wait(id);
  EXPECT_EQ(engine.log.wait(ids[2]).last.finish, FinishReason::Cancelled);
  engine.log.wait(engine.executor->enqueue(plain()));  // there is room again
  EXPECT_EQ(engine.executor->stats().cancelled, 1u);
}

TEST(Executor, CancelsInEveryPhase) {
  LocalExecutorConfig config = small_config();
  config.max_step_tokens = 16;
  config.max_batch_size = 2;
  config.max_rows = 2 + 16;
  Engine engine(2, config);
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
  while (engine.controls->steps == steps) std::this_thread::yield();
  engine.executor->cancel(id);
  engine.controls->blocked = false;
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

TEST(Executor, AFailingRankFailsEverythingPendingAndNothingHangs) {
  struct Case {
    std::function<void()> failure;
    const char* code;
  };
  const Case cases[] = {
      {[] { throw std::runtime_error("injected failure"); }, "ERR_RANK_LOST"},
      {[] { throw std::bad_alloc(); }, "ERR_OUT_OF_MEMORY"},
      {[] { throw Error("ERR_INTERNAL", "injected failure"); }, "ERR_INTERNAL"},
  };
  for (int rank : {0, 1, 3}) {
    for (const Case& one : cases) {
      Engine engine(4);
      engine.controls->failure = one.failure;
      engine.controls->fail_rank = rank;
      engine.controls->fail_step = 7;
      std::vector<RequestId> ids;
      for (int i = 0; i < 20; ++i) {
        try {
          ids.push_back(engine.executor->enqueue(plain(20 + i, 100)));
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), "ERR_RANK_LOST");  // it failed before we came
        }
      }
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
      engine.executor->cancel(ids[0]);
      engine.executor->shutdown();
    }
  }
}

TEST(Executor, LogitsThatAreNoNumbersFailOnlyTheirRequest) {
  Engine engine(2);
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

TEST(Executor, ShutdownGivesEveryRequestItsLastEvent) {
  Engine engine(4);
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

TEST(Executor, ManyThreadsEnqueueCancelAskAndShutDown) {
  for (int round = 0; round < 5; ++round) {
    Engine engine(3);
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

TEST(Executor, LoadingFailuresAreThrownAndJoined) {
  const LocalExecutorConfig config = small_config();
  auto controls = std::make_shared<fake::Controls>();
  for (int failing : {0, 2}) {
    auto factories = fake::Model::factories(3, config, controls);
    factories[static_cast<size_t>(failing)] = [](Communicator&) -> std::unique_ptr<RankModel> {
      throw Error("ERR_ENGINE_CORRUPT", "rank file");
    };
    EXPECT_EQ(code_of([&] { LocalExecutor(config, factories, [](std::vector<Response>&&) {}); }),
              "ERR_ENGINE_CORRUPT");
    factories[static_cast<size_t>(failing)] = [](Communicator&) -> std::unique_ptr<RankModel> {
      throw std::bad_alloc();
    };
    EXPECT_EQ(code_of([&] { LocalExecutor(config, factories, [](std::vector<Response>&&) {}); }),
              "ERR_OUT_OF_MEMORY");
  }
}

TEST(Executor, StatsAndProfile) {
  LocalExecutorConfig config = small_config();
  config.profile = true;
  Engine engine(2, config);
  engine.log.wait(engine.executor->enqueue(plain(20, 5)));
  const ExecutorStats stats = engine.executor->stats();
  EXPECT_EQ(stats.prompt_tokens, 20u);
  EXPECT_EQ(stats.generated_tokens, 5u);
  EXPECT_EQ(stats.steps, 5u);
  EXPECT_EQ(stats.finished, 1u);
  EXPECT_EQ(stats.weight_bytes, 2000u);
  EXPECT_EQ(stats.kv_block_tokens, 8);
  ASSERT_EQ(stats.profile_ms.size(), 2u);
  EXPECT_GE(stats.profile_ms[1].at("fake"), 5.0);
  EXPECT_EQ(engine.log.calls, 5);  // one call a step
}

TEST(Executor, ASinkMayCancelAndShutDown) {
  const LocalExecutorConfig config = small_config();
  auto controls = std::make_shared<fake::Controls>();
  std::atomic<LocalExecutor*> executor{nullptr};
  std::atomic<int> cancelled{0};
  {
    LocalExecutor one(config, fake::Model::factories(2, config, controls),
                      [&](std::vector<Response>&& events) {
                        for (const Response& event : events) {
                          if (event.finish == FinishReason::Cancelled) ++cancelled;
                          if (event.request == 1) executor.load()->cancel(1);
                          if (event.request == 2) executor.load()->shutdown();
                        }
                      });
    executor = &one;
    one.enqueue(plain(5, 100));
    while (cancelled == 0) std::this_thread::yield();
    one.enqueue(plain(5, 100));
    while (cancelled == 1) std::this_thread::yield();
  }
  EXPECT_EQ(cancelled, 2);
}

TEST(Limits, DefaultsAndMemory) {
  ExecutorOptions options;
  options.ranks = 2;
  ModelSizes sizes{1000, 500, 16, 1 << 20, 100 << 20};
  LocalExecutorConfig config = decide_limits(options, sizes, size_t{8} << 30);
  EXPECT_EQ(config.max_sequence_length, 500);
  EXPECT_EQ(config.kv_blocks, 8 * 32);
  EXPECT_EQ(config.max_step_tokens, 500);
  EXPECT_EQ(config.prefill_chunk, 256);
  EXPECT_EQ(config.max_rows, 8 + 128);
  EXPECT_GE(config.threads_per_rank, 1);
  config = decide_limits(options, sizes, size_t{200} << 20);  // 60 % of 100 MiB
  EXPECT_EQ(config.kv_blocks, 60);
  EXPECT_EQ(code_of([&] { decide_limits(options, sizes, size_t{140} << 20); }), "ERR_OUT_OF_MEMORY");
  options.kv_cache_tokens = 100;
  EXPECT_EQ(decide_limits(options, sizes, 0).kv_blocks, 7);
  options.max_sequence_length = 501;
  EXPECT_EQ(code_of([&] { decide_limits(options, sizes, 0); }), "ERR_CONTEXT_LENGTH");
  EXPECT_GT(available_memory(), size_t{1} << 20);
}

}  // namespace
}  // namespace kraken
