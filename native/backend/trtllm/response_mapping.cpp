#include "backend/trtllm/response_mapping.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "base/error.h"

namespace kraken::trtllm {
namespace {

namespace tle = tensorrt_llm::executor;

constexpr float kNoLogprob = std::numeric_limits<float>::quiet_NaN();

double log_sum_exp(const float* logits, int32_t count) {
  const float largest = *std::max_element(logits, logits + count);
  double sum = 0;
  for (int32_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(logits[i]) - largest);
  return largest + std::log(sum);
}

double milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

// Rows of the last dimension's size. The engine's logits are float32 (config.json: logits_dtype).
std::pair<const float*, size_t> rows_of(const tle::Tensor& tensor, size_t& width) {
  const auto shape = tensor.getShape();
  size_t count = 1;
  for (size_t i = 0; i < shape.size(); ++i) count *= static_cast<size_t>(shape[i]);
  width = shape.size() == 0 ? 0 : static_cast<size_t>(shape[shape.size() - 1]);
  if (tensor.getDataType() != tle::DataType::kFP32 || width == 0) {
    throw Error("ERR_ENGINE_CORRUPT", "the engine's logits are not float32: build it again");
  }
  return {static_cast<const float*>(tensor.getData()), count / width};
}

}  // namespace

SampleResponses::SampleResponses(const Request& request, RequestId id, int32_t sample, int32_t vocab)
    : kind_(request.kind),
      prompt_(request.kind == Request::Kind::Score ? request.prompt : std::vector<int32_t>()),
      stop_tokens_(request.sampling.stop_tokens),
      min_tokens_(request.sampling.min_tokens),
      logprobs_(request.sampling.logprobs),
      id_(id),
      sample_(sample),
      vocab_(vocab) {}

Response SampleResponses::event(int32_t token) const {
  Response event;
  event.request = id_;
  event.sample = sample_;
  event.token = token;
  event.logprob = kNoLogprob;
  return event;
}

void SampleResponses::end(FinishReason finish, const std::string& code, const std::string& message,
                          std::vector<Response>& events) const {
  Response last = event();
  last.finish = finish;
  last.error_code = code;
  last.error_message = message;
  last.total_ms = milliseconds(Clock::now() - enqueued_at_);
  events.push_back(std::move(last));
}

void SampleResponses::map(const tle::Response& response, std::vector<Response>& events) {
  const bool first = !std::exchange(started_, true);
  if (response.hasError()) {
    return end(FinishReason::Error, "ERR_INTERNAL", "TensorRT-LLM: " + response.getErrorMsg(), events);
  }
  const tle::Result& result = response.getResult();
  const size_t before = events.size();
  if (kind_ == Request::Kind::Generate) {
    map_tokens(result, events);
  } else if (result.isFinal) {
    map_context(result, events);
  }
  if (events.size() == before) return;
  const double now = milliseconds(Clock::now() - enqueued_at_);
  if (first) events[before].first_token_ms = now;
  if (events.back().finish != FinishReason::None) events.back().total_ms = now;
  if (!result.requestPerfMetrics) return;
  const auto& timing = result.requestPerfMetrics->timingMetrics;
  Response& told = first ? events[before] : events.back();
  told.queue_ms = std::max(0.0, milliseconds(timing.firstScheduledTime - timing.arrivalTime));
}

bool SampleResponses::ends_with(int32_t token) const {
  return min_tokens_ == 0 && std::find(stop_tokens_.begin(), stop_tokens_.end(), token) != stop_tokens_.end();
}

void SampleResponses::map_tokens(const tle::Result& result, std::vector<Response>& events) {
  for (Response& held : std::exchange(held_, {})) events.push_back(std::move(held));
  size_t fresh = 0;
  if (!result.outputTokenIds.empty()) {
    for (const int32_t token : result.outputTokenIds[0]) events.push_back(event(token));
    fresh = result.outputTokenIds[0].size();
  }
  if (logprobs_ >= 0 && fresh > 0 && result.generationLogits) {
    size_t width = 0;
    const auto [logits, rows] = rows_of(*result.generationLogits, width);
    for (size_t i = 0; i < std::min(rows, fresh); ++i) {
      add_logprobs(events[events.size() - 1 - i], logits + (rows - 1 - i) * width);
    }
  }
  if (!result.isFinal) {
    if (fresh > 0 && ends_with(events.back().token)) {
      held_.push_back(std::move(events.back()));
      events.pop_back();
    }
    return;
  }
  const auto reason =
      result.finishReasons.empty() ? tle::FinishReason::kNOT_FINISHED : result.finishReasons[0];
  switch (reason) {
    case tle::FinishReason::kEND_ID:
      events.push_back(event(stop_tokens_.empty() ? -1 : stop_tokens_[0]));
      events.back().finish = FinishReason::Stop;
      return;
    case tle::FinishReason::kSTOP_WORDS:
    case tle::FinishReason::kLENGTH:
      if (events.empty() || events.back().request != id_ || events.back().sample != sample_ ||
          events.back().finish != FinishReason::None) {
        events.push_back(event());
      }
      events.back().finish = reason == tle::FinishReason::kLENGTH ? FinishReason::Length : FinishReason::Stop;
      return;
    case tle::FinishReason::kCANCELLED:
      return end(FinishReason::Cancelled, "", "", events);
    default:
      return end(FinishReason::Error, "ERR_INTERNAL",
                 "TensorRT-LLM ended the request without a reason we know (" +
                     std::to_string(static_cast<int>(reason)) + ")",
                 events);
  }
}

void SampleResponses::add_logprobs(Response& event, const float* logits) const {
  const double sum = log_sum_exp(logits, vocab_);
  const auto logprob = [&](int32_t token) { return static_cast<float>(logits[token] - sum); };
  event.logprob = logprob(event.token);
  std::vector<int32_t> tokens(static_cast<size_t>(vocab_));
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto count = std::min(logprobs_, vocab_);
  std::partial_sort(tokens.begin(), tokens.begin() + count, tokens.end(), [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  for (int32_t i = 0; i < count; ++i) {
    event.alternatives.push_back({tokens[static_cast<size_t>(i)], logprob(tokens[static_cast<size_t>(i)])});
  }
}

void SampleResponses::map_context(const tle::Result& result, std::vector<Response>& events) {
  if (!result.contextLogits) {
    return end(FinishReason::Error, "ERR_INTERNAL", "TensorRT-LLM gave no logits of the text", events);
  }
  size_t width = 0;
  const auto [logits, rows] = rows_of(*result.contextLogits, width);
  const auto vocab = static_cast<size_t>(vocab_);
  if (width < vocab)
    throw Error("ERR_ENGINE_CORRUPT", "the engine's logits are narrower than its vocabulary");
  Response answer = event();
  answer.finish = FinishReason::Length;
  for (size_t row = 0; row < rows; ++row) {
    const float* values = logits + row * width;
    if (kind_ == Request::Kind::Logits) {
      answer.values.insert(answer.values.end(), values, values + vocab);
      continue;
    }
    if (row == 0) answer.values.push_back(kNoLogprob);
    if (row + 1 == prompt_.size()) break;
    answer.values.push_back(static_cast<float>(values[prompt_[row + 1]] - log_sum_exp(values, vocab_)));
  }
  events.push_back(std::move(answer));
}

}  // namespace kraken::trtllm
