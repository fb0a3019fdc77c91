// A deterministic model for tests of the runtime: the logits of a row are a hash of what lies in the
// sequence's KV blocks, so a token cached in the wrong place, or a block given to two sequences, changes what
// is generated. What it caches went through an exchange among the ranks first, and its logits through a
// gather.
#pragma once

#include <signal.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "base/error.h"
#include "runtime/local_executor.h"

namespace kraken::fake {

constexpr int kVocab = 97;

inline uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// What the cache holds for a token: the sum over ranks of (rank + 1) · (token + 1) + position. Exact in
// float32.
inline float cached_value(int32_t token, int32_t position, int ranks) {
  return static_cast<float>(ranks * (ranks + 1) / 2 * (token + 1) + ranks * position);
}

inline float logit(uint64_t context, int32_t token) {
  return static_cast<float>(mix(context ^ mix(static_cast<uint64_t>(token))) >> 40) * 0x1p-22f - 2.0f;
}

inline uint64_t extend(uint64_t context, float cached) {
  return mix(context ^ static_cast<uint64_t>(cached));
}

// The logits after these tokens, without cache, batch or ranks.
inline std::vector<float> logits_after(std::span<const int32_t> tokens, int ranks) {
  uint64_t context = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    context = extend(context, cached_value(tokens[i], static_cast<int32_t>(i), ranks));
  }
  std::vector<float> logits;
  for (int32_t token = 0; token < kVocab; ++token) logits.push_back(logit(context, token));
  return logits;
}

// How a rank fails, where it is told to.
enum class Failure : int { RuntimeError, BadAlloc, Internal, EngineCorrupt, Crash, Hang };

inline void fail(Failure failure) {
  switch (failure) {
    case Failure::RuntimeError:
      throw std::runtime_error("injected failure");
    case Failure::BadAlloc:
      throw std::bad_alloc();
    case Failure::Internal:
      throw Error("ERR_INTERNAL", "injected failure");
    case Failure::EngineCorrupt:
      throw Error("ERR_ENGINE_CORRUPT", "injected failure");
    case Failure::Crash:  // for workers
      raise(SIGKILL);
      return;
    case Failure::Hang:
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

// Shared by the ranks of one fake engine and the test, which may be different processes: it lies in memory
// that both map (controls_file.h), so it holds no pointers.
struct Controls {
  std::atomic<int> steps{0};       // of rank 0
  std::atomic<int> fail_step{-1};  // the step in which fail_rank throws
  std::atomic<int> fail_rank{0};
  std::atomic<Failure> failure{Failure::RuntimeError};
  std::atomic<int> fail_load_rank{-1};    // the rank that fails to load
  std::atomic<int> load_milliseconds{0};  // rank 0 takes to load
  std::atomic<int> step_microseconds{0};
  std::atomic<int> largest_step{0};                     // tokens
  std::atomic<bool> blocked{false};                     // rank 0 sleeps in its step while true
  std::atomic<int> product_tokens{0}, weight_reads{0};  // of all ranks
  std::atomic<bool> poison{false};                      // logits become NaN
};

class Model final : public RankModel {
 public:
  Model(Communicator& communicator, const LocalExecutorConfig& config, std::shared_ptr<Controls> controls)
      : communicator_(communicator),
        config_(config),
        controls_(std::move(controls)),
        cache_(static_cast<size_t>(config.kv_blocks * config.kv_block_tokens), -1.0f),
        thread_(std::this_thread::get_id()) {
    for (auto& buffer : send_) buffer.resize(static_cast<size_t>(config.max_step_tokens));
  }
  ~Model() override {
    if (std::this_thread::get_id() != thread_) std::abort();
  }

  void step(const StepBatch& batch, float* logits) override {
    KRAKEN_CHECK(std::this_thread::get_id() == thread_);
    const int rank = communicator_.rank(), ranks = communicator_.size();
    const int step = steps_++;
    if (rank == 0) {
      controls_->steps = step + 1;
      controls_->largest_step =
          std::max(controls_->largest_step.load(), static_cast<int>(batch.tokens.size()));
      while (controls_->blocked) std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    if (step == controls_->fail_step && rank == controls_->fail_rank) fail(controls_->failure);
    if (const int delay = controls_->step_microseconds; delay > 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(delay));
    }
    check(batch);

    std::vector<float>& send = send_[exchange_++ % Communicator::kExchangeDepth];
    for (size_t i = 0; i < batch.tokens.size(); ++i) {
      send[i] = static_cast<float>((rank + 1) * (batch.tokens[i] + 1) + batch.positions[i]);
    }
    const float* part = send.data();
    const auto count = static_cast<int64_t>(batch.tokens.size());
    const Addends addends = communicator_.wait(communicator_.start({&part, 1}, count, 1)).sum;
    for (const auto& sequence : batch.sequences) {
      for (int32_t i = 0; i < sequence.length; ++i) {
        float sum = 0;
        for (const float* addend : addends.float32) sum += addend[sequence.begin + i];
        at(sequence, sequence.past + i) = sum;
      }
    }

    const int begin = kVocab * rank / ranks, end = kVocab * (rank + 1) / ranks;
    std::vector<float> part_logits;
    for (int32_t row : batch.wanted_rows) {
      const auto& sequence = owner(batch, row);
      uint64_t context = 0;
      for (int32_t i = 0; i <= sequence.past + row - sequence.begin; ++i)
        context = extend(context, at(sequence, i));
      for (int token = begin; token < end; ++token) {
        part_logits.push_back(controls_->poison ? std::nanf("") : logit(context, token));
      }
    }
    communicator_.gather_columns(part_logits.data(), static_cast<int64_t>(batch.wanted_rows.size()),
                                 end - begin, begin, logits, kVocab);
  }

  void run_products(int tokens, float* logits) override {
    if (communicator_.rank() == controls_->fail_rank && steps_ == controls_->fail_step)
      fail(controls_->failure);
    controls_->product_tokens += tokens;
    if (communicator_.rank() == 0) logits[0] = 0;
  }
  void read_weights() override { ++controls_->weight_reads; }
  RankMemory memory() const override { return {1000, 100, 10}; }
  std::map<std::string, double> take_profile() override { return {{"fake", 1.0}}; }

 private:
  float& at(const StepBatch::Sequence& sequence, int32_t position) {
    const int32_t block = sequence.blocks[static_cast<size_t>(position / config_.kv_block_tokens)];
    return cache_[static_cast<size_t>(block * config_.kv_block_tokens + position % config_.kv_block_tokens)];
  }

  static const StepBatch::Sequence& owner(const StepBatch& batch, int32_t row) {
    for (const auto& sequence : batch.sequences) {
      if (row >= sequence.begin && row < sequence.begin + sequence.length) return sequence;
    }
    internal_error("a wanted row outside the step");
  }

  void check(const StepBatch& batch) const {
    KRAKEN_CHECK(static_cast<int>(batch.tokens.size()) <= config_.max_step_tokens);
    KRAKEN_CHECK(static_cast<int>(batch.sequences.size()) <= config_.max_batch_size);
    KRAKEN_CHECK(static_cast<int>(batch.wanted_rows.size()) <= config_.max_rows);
    KRAKEN_CHECK(!batch.tokens.empty() && batch.positions.size() == batch.tokens.size());
    int32_t next = 0;
    for (const auto& sequence : batch.sequences) {
      KRAKEN_CHECK(sequence.begin == next && sequence.length > 0);
      next += sequence.length;
      KRAKEN_CHECK(sequence.past + sequence.length <= config_.max_sequence_length);
      KRAKEN_CHECK(sequence.past + sequence.length <=
                   static_cast<int32_t>(sequence.blocks.size()) * config_.kv_block_tokens);
      for (int32_t i = 0; i < sequence.length; ++i) {
        KRAKEN_CHECK(batch.positions[static_cast<size_t>(sequence.begin + i)] == sequence.past + i);
      }
    }
    KRAKEN_CHECK(next == static_cast<int32_t>(batch.tokens.size()));
    for (size_t i = 1; i < batch.wanted_rows.size(); ++i) {
      KRAKEN_CHECK(batch.wanted_rows[i - 1] < batch.wanted_rows[i]);
    }
  }

  Communicator& communicator_;
  const LocalExecutorConfig config_;
  std::shared_ptr<Controls> controls_;
  std::vector<float> cache_;  // [kv_blocks, kv_block_tokens]
  std::vector<float> send_[Communicator::kExchangeDepth];
  size_t exchange_ = 0;
  int steps_ = 0;
  const std::thread::id thread_;

  static void load(int rank, const Controls& controls, const std::atomic<bool>* cancelled) {
    if (rank == controls.fail_load_rank) fail(controls.failure);
    for (int ms = 0; rank == 0 && ms < controls.load_milliseconds; ++ms) {
      if (cancelled != nullptr && *cancelled) throw Error("ERR_ABORTED", "loading was aborted");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 public:
  static std::vector<RankModelFactory> factories(int ranks, const LocalExecutorConfig& config,
                                                 std::shared_ptr<Controls> controls,
                                                 const std::atomic<bool>* cancelled = nullptr) {
    return std::vector<RankModelFactory>(static_cast<size_t>(ranks),
                                         [config, controls, cancelled](Communicator& communicator) {
                                           load(communicator.rank(), *controls, cancelled);
                                           return std::make_unique<Model>(communicator, config, controls);
                                         });
  }
};

}  // namespace kraken::fake
