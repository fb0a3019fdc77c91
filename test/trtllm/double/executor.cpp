// The executor's double: rank 0 runs our CPU executor over the engine's weights, the others keep it company
// (lockstep.h).
#include "runtime/executor.h"

#include <tensorrt_llm/executor/executor.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "faults.h"
#include "json_config.h"
#include "lockstep.h"
#include "stand_ins/events.h"

namespace tensorrt_llm::executor {
namespace {

using TimePoint = RequestPerfMetrics::TimePoint;
using std::chrono::steady_clock;

TimePoint after(TimePoint start, double ms) {
  return start +
         std::chrono::duration_cast<steady_clock::duration>(std::chrono::duration<double, std::milli>(ms));
}

kraken::ExecutorOptions options_of(const std::filesystem::path& path, const JsonConfig& json,
                                   const ExecutorConfig& config) {
  kraken::ExecutorOptions options;
  options.directory = path.string();
  options.model_config = json.all.at("config").dump();
  options.ranks = json.tp_size;
  options.dtype = kraken::parse_dtype(json.dtype);
  options.threads_per_rank = 1;
  options.max_batch_size =
      std::min(config.getMaxBatchSize().value_or(json.max_batch_size), json.max_batch_size);
  options.max_sequence_length = json.max_seq_len;
  options.max_step_tokens = config.getMaxNumTokens().value_or(json.max_num_tokens);
  options.kv_cache_tokens = config.getKvCacheConfig().getMaxTokens().value_or(0);
  options.max_queue = 1 << 20;
  return options;
}

}  // namespace

const char* version() noexcept {
  const char* pretended = std::getenv("KRAKEN_DOUBLE_VERSION");
  return pretended != nullptr ? pretended : "1.2.1";
}

class Executor::Impl {
 public:
  Impl(const std::filesystem::path& path, ModelType type, const ExecutorConfig& config)
      : config_(config), faults_(lockstep_.rank()), json_(parse_json_config(path / "config.json")) {
    if (type != ModelType::kDECODER_ONLY) throw std::runtime_error("the double decodes, and nothing else");
    if (const auto parallel = config.getParallelConfig();
        parallel && parallel->getCommunicationMode() != CommunicationMode::kLEADER) {
      throw std::runtime_error("the double has leader mode alone");
    }
    if (lockstep_.size() != json_.tp_size * json_.pp_size) {
      throw std::runtime_error("MPI world size " + std::to_string(lockstep_.size()) +
                               " is not tp_size * pp_size");
    }
    const auto engine = path / ("rank" + std::to_string(lockstep_.rank()) + ".engine");
    if (!std::filesystem::exists(engine)) throw std::runtime_error("File does not exist: " + engine.string());
    check_sizes();
    event("executor");
    faults_.in_constructor();
    lockstep_.meet();
    if (lockstep_.rank() == 0) {
      inner_ = kraken::make_local_executor(
          options_of(path, json_, config),
          [this](std::vector<kraken::Response>&& events) { on_step(std::move(events)); });
    }
    thread_ = std::thread([this] { company(); });
  }

  ~Impl() { shutdown(); }

  std::vector<IdType> enqueue(const std::vector<Request>& requests) {
    if (!can_enqueue()) throw std::runtime_error("this process cannot enqueue requests");
    std::vector<IdType> ids;
    for (const Request& request : requests) ids.push_back(enqueue_one(request));
    return ids;
  }

  std::vector<Response> await(const std::optional<std::chrono::milliseconds>& timeout) {
    std::unique_lock lock(mutex_);
    const auto there = [this] { return !ready_.empty() || stopped_; };
    if (timeout) {
      arrived_.wait_for(lock, *timeout, there);
    } else {
      arrived_.wait(lock, there);
    }
    return std::exchange(ready_, {});
  }

  SizeType32 ready(const std::optional<IdType>& id) const {
    const std::lock_guard lock(mutex_);
    return static_cast<SizeType32>(std::count_if(ready_.begin(), ready_.end(), [&](const Response& response) {
      return !id || response.getRequestId() == *id;
    }));
  }

  void cancel(IdType id) { inner_->cancel(id); }

  void shutdown() {
    if (!thread_.joinable()) return;
    if (inner_) {
      inner_->shutdown();
      const std::lock_guard lock(step_mutex_);
      lockstep_.lead(0);
    }
    thread_.join();
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    arrived_.notify_all();
  }

  std::deque<IterationStats> iterations() {
    const std::lock_guard lock(mutex_);
    return std::exchange(iterations_, {});
  }

  bool can_enqueue() const {
    const std::lock_guard lock(mutex_);
    return lockstep_.rank() == 0 && !stopped_;
  }

 private:
  // What the original finds out while it sets its model up.
  void check_sizes() const {
    const int block = json_.tokens_per_block;
    const auto blocks = [&](int tokens) { return (tokens + block - 1) / block; };
    const int tokens = config_.getKvCacheConfig().getMaxTokens().value_or(json_.max_seq_len);
    if (blocks(tokens) < blocks(json_.max_seq_len)) {
      // Unless it may fail, the original shortens sequences and attention's window, and says so in its log.
      if (!config_.getFailFastOnAttentionWindowTooLarge())
        throw std::runtime_error("the double shortens nothing");
      throw std::runtime_error("Attention window too large to fit even a single sequence in the KV cache");
    }
    // Prompts are computed in chunks where its kernels for them can continue one.
    const int step = std::min(config_.getMaxNumTokens().value_or(json_.max_num_tokens), json_.max_num_tokens);
    if (!json_.paged_context_fmha && json_.max_input_len > step) {
      throw std::runtime_error(
          "Without enabling chunked context, the max context length needs to be less than or "
          "equal to the max number of tokens");
    }
  }

  struct Running {
    explicit Running(Request made) : request(std::move(made)) {}
    Request request;
    TimePoint arrival = steady_clock::now();
    TimePoint scheduled, first, last;
    std::vector<TokenIdType> tokens;  // of a request that does not stream
    std::vector<float> context;
  };

  IdType enqueue_one(const Request& request) {
    const auto sampling = request.getSamplingConfig();
    const auto output = request.getOutputConfig();
    const auto prompt = request.getInputTokenIds();
    if (static_cast<int>(prompt.size()) > json_.max_input_len)
      throw std::runtime_error("longer than max_input_len");
    if (static_cast<int>(prompt.size()) + request.getMaxTokens() > json_.max_seq_len) {
      throw std::runtime_error("prompt and maxTokens are more than max_seq_len");
    }
    if (output.returnContextLogits && !json_.gather_context_logits) {
      throw std::runtime_error("context logits need an engine built with gather_context_logits");
    }
    if (output.returnGenerationLogits && !config_.getGatherGenerationLogits()) {
      throw std::runtime_error("generation logits need gatherGenerationLogits");
    }
    kraken::Request inner;
    inner.prompt = prompt;
    if (output.returnContextLogits) inner.kind = kraken::Request::Kind::Logits;
    auto& params = inner.sampling;
    params.temperature = sampling.getTemperature().value_or(1);
    params.top_k = sampling.getTopK().value_or(0);
    params.top_p = sampling.getTopP().value_or(1);
    params.min_p = sampling.getMinP().value_or(0);
    params.repetition_penalty = sampling.getRepetitionPenalty().value_or(1);
    params.presence_penalty = sampling.getPresencePenalty().value_or(0);
    params.frequency_penalty = sampling.getFrequencyPenalty().value_or(0);
    params.seed = sampling.getSeed().value_or(0);
    params.max_tokens = request.getMaxTokens();
    params.min_tokens = sampling.getMinTokens().value_or(0);
    params.logprobs = output.returnGenerationLogits ? json_.vocab_size - 1 : -1;
    if (request.getEndId()) params.stop_tokens.push_back(*request.getEndId());
    for (const auto& word : request.getStopWords().value_or(std::list<VecTokens>())) {
      if (word.size() != 1) throw std::runtime_error("the double knows stop words of one token");
      params.stop_tokens.push_back(word[0]);
    }
    // The original holds back the end token alone.
    if (params.min_tokens > 0 && request.getStopWords())
      throw std::runtime_error("minTokens with stop words");
    if (const auto bias = request.getEmbeddingBias()) {
      const int padded = (json_.vocab_size + json_.tp_size - 1) / json_.tp_size * json_.tp_size;
      const auto shape = bias->getShape();
      if (shape.size() != 1 || shape[0] != padded)
        throw std::runtime_error("embeddingBias must be [padded vocabulary]");
      const auto* values = static_cast<const float*>(bias->getData());
      for (int token = 0; token < json_.vocab_size; ++token) {
        if (values[token] != 0) params.logit_bias.emplace_back(token, values[token]);
      }
    }
    const std::lock_guard lock(mutex_);
    if (faults_.answers_with_error(++requests_)) {
      const IdType id = (uint64_t{1} << 32) + requests_;
      ready_.emplace_back(id, "Encountered an error in forward function: the double was told to fail");
      arrived_.notify_all();
      return id;
    }
    const IdType id = inner_->enqueue(std::move(inner));
    running_.emplace(id, Running(request));
    return id;
  }

  // On the executor's thread, once a step.
  void on_step(std::vector<kraken::Response>&& events) {
    const auto began = steady_clock::now();
    {
      const std::lock_guard step(step_mutex_);
      lockstep_.lead(++iteration_);
      faults_.in_iteration(iteration_);
      lockstep_.exchange();
    }
    const std::lock_guard lock(mutex_);
    for (const kraken::Response& event : events) answer(event);
    IterationStats stats{};
    stats.iter = iteration_;
    stats.iterLatencyMS = std::chrono::duration<double, std::milli>(steady_clock::now() - began).count();
    stats.numActiveRequests = static_cast<SizeType32>(running_.size());
    stats.kvCacheStats = KvCacheStats{64, 32, 32, json_.tokens_per_block};
    stats.inflightBatchingStats =
        InflightBatchingStats{stats.numActiveRequests, 0, stats.numActiveRequests, 0, 0};
    iterations_.push_back(stats);
    while (iterations_.size() > static_cast<size_t>(config_.getIterStatsMaxIterations()))
      iterations_.pop_front();
    arrived_.notify_all();
  }

  void answer(const kraken::Response& event) {
    const auto found = running_.find(event.request);
    if (found == running_.end()) return;
    Running& running = found->second;
    const auto now = steady_clock::now();
    if (event.first_token_ms > 0) {
      running.scheduled = after(running.arrival, event.queue_ms);
      running.first = now;
    }
    running.last = now;
    running.context.insert(running.context.end(), event.values.begin(), event.values.end());
    if (event.finish == kraken::FinishReason::Error) {
      ready_.emplace_back(event.request, event.error_message);
      running_.erase(found);
      return;
    }
    const bool last = event.finish != kraken::FinishReason::None;
    const auto end = running.request.getEndId();
    const bool ended = event.finish == kraken::FinishReason::Stop && end && *end == event.token;
    if (event.token >= 0 && !ended)
      running.tokens.push_back(event.token);  // the end token is no part of the output
    if (!last && !running.request.getStreaming()) return;
    Result result;
    result.isFinal = result.isSequenceFinal = last;
    result.outputTokenIds = {std::exchange(running.tokens, {})};
    result.finishReasons = {reason(event.finish, ended)};
    if (running.request.getOutputConfig().returnGenerationLogits && event.token >= 0) {
      result.generationLogits = logits_of(event);
    }
    if (running.request.getOutputConfig().returnContextLogits) add_context(running, result);
    if (running.request.getOutputConfig().returnPerfMetrics) {
      result.requestPerfMetrics =
          RequestPerfMetrics{{running.arrival, running.scheduled, running.first, running.last}};
    }
    ready_.emplace_back(event.request, std::move(result));
    if (last) running_.erase(found);
  }

  static FinishReason reason(kraken::FinishReason finish, bool ended) {
    switch (finish) {
      case kraken::FinishReason::Stop:
        return ended ? FinishReason::kEND_ID : FinishReason::kSTOP_WORDS;
      case kraken::FinishReason::Length:
        return FinishReason::kLENGTH;
      case kraken::FinishReason::Cancelled:
        return FinishReason::kCANCELLED;
      default:
        return FinishReason::kNOT_FINISHED;
    }
  }

  // Log-probabilities differ from logits by a constant, which nobody who normalises them notices.
  Tensor logits_of(const kraken::Response& event) const {
    Tensor tensor = Tensor::cpu(DataType::kFP32, {1, 1, padded()});
    auto* values = static_cast<float*>(tensor.getData());
    std::fill_n(values, padded(), -1e9f);
    for (const auto& [token, logprob] : event.alternatives) values[token] = logprob;
    values[event.token] = event.logprob;
    return tensor;
  }

  void add_context(Running& running, Result& result) const {
    const auto rows = static_cast<int64_t>(running.request.getInputTokenIds().size());
    Tensor tensor = Tensor::cpu(DataType::kFP32, {rows, padded()});
    auto* values = static_cast<float*>(tensor.getData());
    std::fill_n(values, rows * padded(), 0.0f);
    const auto vocab = static_cast<size_t>(json_.vocab_size);
    for (size_t row = 0; (row + 1) * vocab <= running.context.size(); ++row) {
      std::copy_n(running.context.data() + row * vocab, vocab, values + row * static_cast<size_t>(padded()));
    }
    result.contextLogits = tensor;
    result.outputTokenIds = {{0}};  // the token that is generated in any case
  }

  int64_t padded() const { return (json_.vocab_size + json_.tp_size - 1) / json_.tp_size * json_.tp_size; }

  // Rank 0: an idle fault alone. The others: iteration after iteration.
  void company() {
    if (faults_.has_idle()) faults_.while_idle();
    if (lockstep_.rank() == 0) return;
    while (const uint64_t iteration = lockstep_.follow()) {
      faults_.in_iteration(iteration);
      lockstep_.exchange();
    }
  }

  const ExecutorConfig config_;
  Lockstep lockstep_;
  const Faults faults_;
  const JsonConfig json_;
  std::mutex step_mutex_;
  uint64_t iteration_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Response> ready_;
  std::map<IdType, Running> running_;
  std::deque<IterationStats> iterations_;
  uint64_t requests_ = 0;
  bool stopped_ = false;

  std::unique_ptr<kraken::Executor> inner_;
  std::thread thread_;
};

Executor::Executor(const std::filesystem::path& modelPath, ModelType modelType,
                   const ExecutorConfig& executorConfig)
    : mImpl(std::make_unique<Impl>(modelPath, modelType, executorConfig)) {}
Executor::~Executor() = default;

IdType Executor::enqueueRequest(const Request& request) {
  return mImpl->enqueue({request}).front();
}
std::vector<IdType> Executor::enqueueRequests(const std::vector<Request>& requests) {
  return mImpl->enqueue(requests);
}
std::vector<Response> Executor::awaitResponses(const std::optional<std::chrono::milliseconds>& timeout) {
  return mImpl->await(timeout);
}
SizeType32 Executor::getNumResponsesReady(const std::optional<IdType>& requestId) const {
  return mImpl->ready(requestId);
}
void Executor::cancelRequest(IdType requestId) {
  mImpl->cancel(requestId);
}
void Executor::shutdown() {
  mImpl->shutdown();
}
std::deque<IterationStats> Executor::getLatestIterationStats() {
  return mImpl->iterations();
}
bool Executor::canEnqueueRequests() const {
  return mImpl->can_enqueue();
}
bool Executor::isParticipant() const {
  return true;
}

}  // namespace tensorrt_llm::executor
