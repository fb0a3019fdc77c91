#include "runtime/local_executor.h"

#include <pthread.h>

#include <algorithm>
#include <future>

#include "base/error.h"
#include "comm/local/local_group.h"
#include "runtime/serving_loop.h"

namespace kraken {
ExecutorStats StatsBoard::take() {
  std::lock_guard lock(mutex_);
  ExecutorStats stats = stats_;
  for (auto& rank : stats_.profile_ms) rank.clear();
  return stats;
}

LocalExecutor::LocalExecutor(const LocalExecutorConfig& config, std::vector<RankModelFactory> factories,
                             ResponseSink sink)
    : config_(config),
      factories_(std::move(factories)),
      sink_(std::move(sink)),
      communicators_(make_local_group(static_cast<int>(factories_.size()), config.communication)),
      mailbox_(config.max_queue) {
  std::promise<void> loading;
  std::future<void> loaded = loading.get_future();
  thread_ = std::thread([this, loading = std::move(loading)]() mutable {
    pthread_setname_np(pthread_self(), "kraken-exec");
    std::unique_ptr<ServingLoop> loop;
    try {
      loop = std::make_unique<ServingLoop>(config_, factories_, communicators_, mailbox_, board_, sink_);
    } catch (...) {
      loading.set_exception(std::current_exception());
      return;
    }
    loading.set_value();
    loop->run();
  });
  thread_id_ = thread_.get_id();
  try {
    loaded.get();
  } catch (const std::bad_alloc&) {
    thread_.join();
    throw Error("ERR_OUT_OF_MEMORY", "not enough memory to load the engine");
  } catch (...) {
    thread_.join();
    throw;
  }
}

// What JavaScript has validated already; here so that no caller can make a rank read outside its tables.
void LocalExecutor::check(const Request& request) const {
  if (request.prompt.empty()) throw Error("ERR_EMPTY_PROMPT", "the prompt has no tokens");
  const bool generates = request.kind == Request::Kind::Generate;
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length + (generates ? 1 : 0) > config_.max_sequence_length) {
    throw Error("ERR_CONTEXT_LENGTH", "a prompt of " + std::to_string(length) + " tokens leaves no room in " +
                                          std::to_string(config_.max_sequence_length) + " positions");
  }
  const auto check_token = [&](int32_t token) {
    if (token >= 0 && token < config_.vocab) return;
    throw Error("ERR_TOKEN_RANGE",
                "token " + std::to_string(token) + " is outside 0 … " + std::to_string(config_.vocab - 1));
  };
  for (int32_t token : request.prompt) check_token(token);
  if (generates) {
    for (int32_t token : request.sampling.stop_tokens) check_token(token);
    for (const auto& [token, bias] : request.sampling.logit_bias) check_token(token);
    if (request.sampling.max_tokens < 1) throw Error("ERR_OPTION", "max_tokens must be at least 1");
    if (request.samples < 1) throw Error("ERR_OPTION", "samples must be at least 1");
  }
  // The prompt alone: it may stop before it needs more.
  const int64_t blocks = (length + config_.kv_block_tokens - 1) / config_.kv_block_tokens;
  if (blocks > config_.kv_blocks) {
    throw Error("ERR_OUT_OF_KV_CACHE",
                "a prompt of " + std::to_string(length) + " tokens can never fit the key/value cache of " +
                    std::to_string(int64_t{config_.kv_blocks} * config_.kv_block_tokens) +
                    " tokens: raise kvCacheTokens or shorten the prompt");
  }
}

// Allocates what the sequence will ever need, so that want of memory shows here and not between steps.
std::unique_ptr<Sequence> LocalExecutor::make_sequence(const Request& request, int32_t sample) const {
  auto sequence = std::make_unique<Sequence>();
  sequence->sample = sample;
  sequence->kind = request.kind;
  sequence->prompt_length = static_cast<int32_t>(request.prompt.size());
  sequence->token_limit = sequence->prompt_length;
  if (request.kind == Request::Kind::Generate) {
    sequence->sampler.emplace(request.sampling, sample, request.prompt);
    sequence->token_limit +=
        std::min(request.sampling.max_tokens, config_.max_sequence_length - sequence->prompt_length);
  }
  sequence->tokens.reserve(static_cast<size_t>(sequence->token_limit));
  sequence->tokens = request.prompt;
  sequence->blocks.reserve((sequence->token_limit + config_.kv_block_tokens - 1) / config_.kv_block_tokens);
  sequence->enqueued_at = Clock::now();
  return sequence;
}

RequestId LocalExecutor::enqueue(Request request) {
  check(request);
  auto first = make_sequence(request, 0);
  if (request.kind == Request::Kind::Generate) {
    for (int32_t sample = 1; sample < request.samples; ++sample) {
      first->siblings.push_back(make_sequence(request, sample));
    }
  }
  return mailbox_.post(std::move(first));
}

ExecutorStats LocalExecutor::stats() {
  ExecutorStats stats = board_.take();
  stats.waiting += mailbox_.uncollected();
  for (const auto& communicator : communicators_) {
    stats.exposed_ms.push_back(static_cast<double>(communicator->exposed_nanoseconds()) * 1e-6);
    stats.collective_ms.push_back(static_cast<double>(communicator->collective_nanoseconds()) * 1e-6);
  }
  stats.exchanges = communicators_.front()->exchanges();
  return stats;
}

void LocalExecutor::shutdown() {
  mailbox_.stop();
  if (std::this_thread::get_id() == thread_id_) return;  // asked for by the sink; the destructor joins
  std::lock_guard lock(shutdown_mutex_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace kraken
