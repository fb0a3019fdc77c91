// What the executor's tests share: a log of everything it says, an executor over the fake model, requests.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "controls_file.h"
#include "fake_backend.h"
#include "runtime/executor.h"
#include "runtime/sampler.h"

namespace kraken::test {
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

inline LocalExecutorConfig small_config() {
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
  config.prefix_reuse = true;
  return config;
}

// How an implementation starts an engine over the fake model.
struct Implementation {
  const char* name;
  std::unique_ptr<Executor> (*start)(const fake::ControlsFile&, int ranks, const LocalExecutorConfig&,
                                     ResponseSink);
};

struct Engine {
  Engine(const Implementation& implementation, int rank_count, LocalExecutorConfig config = small_config())
      : ranks(rank_count),
        controls(file.controls),
        executor(implementation.start(file, rank_count, config, log.sink())) {}

  // Lets blocked steps go on when everything asked of the executor so far has reached it: to a worker that
  // takes a while, and only its answer to a later question says so.
  void unblock() {
    executor->stats();
    controls->blocked = false;
  }

  int ranks;
  Log log;
  fake::ControlsFile file;
  std::shared_ptr<fake::Controls> controls;
  std::unique_ptr<Executor> executor;  // first to go
};

// What every Executor must do (executor_test.cpp, executor_failures_test.cpp). A file per implementation
// instantiates it.
class ExecutorSuite : public testing::TestWithParam<Implementation> {};

inline Request random_request(std::mt19937& random, int longest = 90) {
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
inline std::vector<int32_t> alone(const Request& request, int32_t sample, int ranks,
                                  FinishReason* finish = nullptr, int max_length = 200) {
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

// Within a bound, so that a hang is a failure.
inline bool eventually(const std::function<bool()>& condition,
                       std::chrono::milliseconds within = std::chrono::seconds(60)) {
  for (const auto until = Clock::now() + within; !condition();) {
    if (Clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

inline std::string code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return "nothing";
}

inline Request plain(int length = 5, int max_tokens = 10) {
  Request request;
  for (int i = 0; i < length; ++i) request.prompt.push_back(i % fake::kVocab);
  request.sampling.temperature = 0;
  request.sampling.max_tokens = max_tokens;
  return request;
}

}  // namespace kraken::test
