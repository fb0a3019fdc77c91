#include "backend/trtllm/trtllm_executor.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <utility>

#include "backend/trtllm/request_mapping.h"
#include "base/error.h"

namespace kraken::trtllm {
namespace {

namespace tle = tensorrt_llm::executor;
using std::chrono::milliseconds;

constexpr milliseconds kLook{20};              // for responses, and for shutdown()
constexpr milliseconds kCancelPatience{1000};  // for what was cancelled to end

tle::ExecutorConfig to_config(const ExecutorOptions& options, const EngineConfig& engine) {
  tle::ExecutorConfig config;
  tle::KvCacheConfig kv_cache;
  if (options.kv_cache_tokens > 0) {
    kv_cache.setMaxTokens(static_cast<tle::SizeType32>(
        std::min<int64_t>(options.kv_cache_tokens, std::numeric_limits<int32_t>::max())));
  }
  // Logits of all of a text, and blocks of another's, exclude each other.
  if (engine.gathers_context_logits) kv_cache.setEnableBlockReuse(false);
  config.setKvCacheConfig(kv_cache);
  config.setBatchingType(tle::BatchingType::kINFLIGHT);
  config.setMaxBatchSize(std::min(options.max_batch_size, engine.max_batch_size));
  config.setMaxNumTokens(options.max_step_tokens > 0
                             ? std::min(options.max_step_tokens, engine.max_num_tokens)
                             : engine.max_num_tokens);
  config.setParallelConfig(
      tle::ParallelConfig(tle::CommunicationType::kMPI, tle::CommunicationMode::kLEADER));
  // Else a cache that is too small for the longest sequence makes it shorten them, and attention's window.
  config.setFailFastOnAttentionWindowTooLarge(true);
  config.setGatherGenerationLogits(true);  // log-probabilities come from them; nobody pays who does not ask
  return config;
}

RequestLimits limits_of(const ExecutorOptions& options, const EngineConfig& engine) {
  RequestLimits limits;
  limits.vocab = engine.vocab;
  limits.max_sequence_length = options.max_sequence_length > 0
                                   ? std::min(options.max_sequence_length, engine.max_seq_len)
                                   : engine.max_seq_len;
  limits.kv_block_tokens = engine.tokens_per_block;
  // TensorRT-LLM decides the size of its cache by the memory that is left, unless told.
  const int64_t tokens = options.kv_cache_tokens > 0 ? options.kv_cache_tokens
                                                     : int64_t{engine.max_seq_len} * engine.max_batch_size;
  limits.kv_blocks = static_cast<int32_t>(
      std::min<int64_t>((tokens + engine.tokens_per_block - 1) / engine.tokens_per_block, INT32_MAX));
  return limits;
}

}  // namespace

RankEngine::RankEngine(const ExecutorOptions& options, const EngineConfig& engine, MpiWorld& world)
    : plugins(open_plugins(engine, world)) {
  plugins->begin_contexts();
  try {
    executor = std::make_unique<tle::Executor>(options.directory, tle::ModelType::kDECODER_ONLY,
                                               to_config(options, engine));
  } catch (const std::bad_alloc&) {
    throw Error("ERR_OUT_OF_MEMORY", "not enough memory for the engine");
  } catch (const std::exception& error) {
    const std::string what = error.what();
    const auto says = [&](const char* text) { return what.find(text) != std::string::npos; };
    if (says("single sequence in the KV cache")) {
      throw Error(
          "ERR_OUT_OF_MEMORY",
          "the key/value cache does not hold one sequence of " + std::to_string(engine.max_seq_len) +
              " tokens, for which the engine was built: raise kvCacheTokens, or build it with a smaller "
              "maxSequenceLength (" +
              what + ")");
    }
    throw Error(says("out of memory") ? "ERR_OUT_OF_MEMORY" : "ERR_ENGINE_CORRUPT",
                "TensorRT-LLM could not load the engine: " + what);
  }
  plugins->end_contexts();
}

TrtLlmExecutor::TrtLlmExecutor(std::unique_ptr<RankEngine> engine, EngineConfig config,
                               const ExecutorOptions& options, ResponseSink sink, QueueObserver observer)
    : config_(std::move(config)),
      sink_(std::move(sink)),
      observer_(std::move(observer)),
      limits_(limits_of(options, config_)),
      max_queue_(options.max_queue),
      engine_(std::move(engine)) {
  if (!engine_->executor->canEnqueueRequests()) {
    throw Error("ERR_INTERNAL", "TensorRT-LLM does not take requests on rank 0");
  }
  thread_ = std::thread([this] { run(); });
}

RequestId TrtLlmExecutor::enqueue(Request request) {
  check_request(request, limits_);
  if (request.kind != Request::Kind::Generate) request.samples = 1;
  const std::vector<tle::Request> requests = to_requests(request, config_);
  const std::lock_guard lock(mutex_);
  check_admission({stopping_, closed_code_, closed_message_, queued_, max_queue_});
  const RequestId id = request.id != 0 ? request.id : last_id_ + 1;
  Pending pending;
  try {
    pending.ids = engine_->executor->enqueueRequests(requests);  // inside the lock: receive() must find them
  } catch (const std::exception& error) {
    throw Error("ERR_INTERNAL", std::string("TensorRT-LLM refused the request: ") + error.what());
  }
  last_id_ = id;
  for (size_t sample = 0; sample < pending.ids.size(); ++sample) {
    samples_.emplace(pending.ids[sample],
                     Sample{id, SampleResponses(request, id, static_cast<int32_t>(sample), limits_.vocab)});
  }
  pending_.emplace(id, std::move(pending));
  ++queued_;
  stats_.prompt_tokens += request.prompt.size();
  return id;
}

void TrtLlmExecutor::cancel(RequestId id) {
  std::vector<TheirId> ids;
  {
    const std::lock_guard lock(mutex_);
    const auto found = pending_.find(id);
    if (found == pending_.end() || std::exchange(found->second.cancelled, true)) return;
    ids = found->second.ids;
  }
  for (const TheirId theirs : ids) engine_->executor->cancelRequest(theirs);
}

ExecutorStats TrtLlmExecutor::stats() {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void TrtLlmExecutor::shutdown() {
  const std::lock_guard once(shutdown_mutex_);
  std::vector<TheirId> running;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& [id, sample] : samples_) running.push_back(id);
  }
  if (!thread_.joinable()) return;
  for (const TheirId id : running) engine_->executor->cancelRequest(id);
  const auto deadline = Clock::now() + kCancelPatience;
  for (bool idle = running.empty(); !idle && Clock::now() < deadline;) {
    std::this_thread::sleep_for(milliseconds(1));
    const std::lock_guard lock(mutex_);
    idle = samples_.empty();
  }
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
  }
  thread_.join();
  end_all(FinishReason::Cancelled, "", "");
  engine_->executor->shutdown();
}

void TrtLlmExecutor::run() noexcept {
  try {
    for (;;) {
      const auto responses = engine_->executor->awaitResponses(kLook);
      if (!responses.empty()) receive(responses);
      keep_statistics();
      const std::lock_guard lock(mutex_);
      if (finished_) return;
    }
  } catch (const Error& error) {
    fail(error.code(), error.what());
  } catch (const std::exception& error) {
    fail("ERR_RANK_LOST", std::string("TensorRT-LLM failed: ") + error.what());
  }
}

void TrtLlmExecutor::receive(const std::vector<tle::Response>& responses) {
  std::vector<Response> events;
  int32_t left = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const tle::Response& response : responses) {
      const auto found = samples_.find(response.getRequestId());
      if (found == samples_.end()) continue;  // ended already
      const RequestId id = found->second.request;
      Pending& pending = pending_.at(id);
      if (!std::exchange(pending.left_queue, true)) ++left;
      const size_t before = events.size();
      found->second.responses.map(response, events);
      for (size_t i = before; i < events.size(); ++i) stats_.generated_tokens += events[i].token >= 0 ? 1 : 0;
      if (events.size() == before || events.back().finish == FinishReason::None) continue;
      count(events.back());
      samples_.erase(found);
      std::erase(pending.ids, response.getRequestId());
      if (pending.ids.empty()) pending_.erase(id);
    }
    queued_ -= left;
  }
  if (left > 0) observer_.left(left);
  if (!events.empty()) sink_(std::move(events));
}

void TrtLlmExecutor::count(const Response& last) {
  uint64_t& counter = last.finish == FinishReason::Error       ? stats_.failed
                      : last.finish == FinishReason::Cancelled ? stats_.cancelled
                                                               : stats_.finished;
  ++counter;
}

// TensorRT-LLM keeps what nobody has fetched for its last 1000 iterations.
void TrtLlmExecutor::keep_statistics() {
  const auto iterations = engine_->executor->getLatestIterationStats();
  const std::lock_guard lock(mutex_);
  for (const tle::IterationStats& one : iterations) {
    ++stats_.steps;
    stats_.step_ms_total += one.iterLatencyMS;
    stats_.running = one.numActiveRequests;
    stats_.waiting = one.numQueuedRequests;
    if (one.inflightBatchingStats) {
      stats_.preemptions += static_cast<uint64_t>(std::max(0, one.inflightBatchingStats->numPausedRequests));
    }
    if (one.kvCacheStats) {
      stats_.kv_blocks = one.kvCacheStats->maxNumBlocks;
      stats_.kv_blocks_used = one.kvCacheStats->usedNumBlocks;
      stats_.kv_block_tokens = one.kvCacheStats->tokensPerBlock;
    }
  }
  if (samples_.empty()) stats_.running = stats_.waiting = 0;
}

void TrtLlmExecutor::fail(const std::string& code, const std::string& message) {
  {
    const std::lock_guard lock(mutex_);
    closed_code_ = code;
    closed_message_ = message;
  }
  observer_.closed(code, message);
  end_all(FinishReason::Error, code, message);
}

void TrtLlmExecutor::end_all(FinishReason finish, const std::string& code, const std::string& message) {
  std::vector<Response> events;
  int32_t left = 0;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, sample] : samples_) {
      sample.responses.end(finish, code, message, events);
      count(events.back());
    }
    for (const auto& [id, pending] : pending_) left += pending.left_queue ? 0 : 1;
    samples_.clear();
    pending_.clear();
    queued_ -= left;
  }
  if (left > 0) observer_.left(left);
  if (!events.empty()) sink_(std::move(events));
}

}  // namespace kraken::trtllm
