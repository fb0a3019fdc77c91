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
                             ResponseSink sink, QueueObserver observer)
    : LocalExecutor(config, factories,
                    make_local_group(static_cast<int>(factories.size()), config.communication),
                    std::move(sink), std::move(observer)) {}

LocalExecutor::LocalExecutor(const LocalExecutorConfig& config, std::vector<RankModelFactory> factories,
                             std::vector<std::unique_ptr<Communicator>> communicators, ResponseSink sink,
                             QueueObserver observer)
    : config_(config),
      factories_(std::move(factories)),
      sink_(std::move(sink)),
      communicators_(std::move(communicators)),
      mailbox_(config.max_queue, std::move(observer)) {
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

// Allocates what the sequence will ever need, so that want of memory shows here and not between steps.
std::unique_ptr<Sequence> LocalExecutor::make_sequence(const Request& request, int32_t sample) const {
  auto sequence = std::make_unique<Sequence>();
  sequence->request = request.id;
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
  check_request(request, config_.limits());
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
  stats.closed = mailbox_.closed();
  // The board has what ranks exchange on devices.
  for (size_t rank = 0; rank < communicators_.size(); ++rank) {
    const Communicator& communicator = *communicators_[rank];
    stats.exposed_ms[rank] += static_cast<double>(communicator.exposed_nanoseconds()) * 1e-6;
    stats.collective_ms[rank] += static_cast<double>(communicator.collective_nanoseconds()) * 1e-6;
    stats.hidden_ms[rank] += static_cast<double>(communicator.hidden_nanoseconds()) * 1e-6;
  }
  stats.exchanges += communicators_.front()->exchanges();
  return stats;
}

void LocalExecutor::shutdown() {
  mailbox_.stop();
  if (std::this_thread::get_id() == thread_id_) return;  // asked for by the sink; the destructor joins
  std::lock_guard lock(shutdown_mutex_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace kraken
