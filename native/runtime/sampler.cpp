#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "runtime/candidates.h"
#include "runtime/philox.h"
#include "runtime/vector_math.h"

namespace kraken {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kGreedyBelow = 1e-5f;  // as vLLM: smaller temperatures overflow

[[noreturn]] void refuse_logits() {
  throw Error(
      "ERR_CHECKPOINT_VALUES",
      "the model computed logits that are not finite numbers: its weights or activations overflow; in "
      "float16 they may fit bfloat16");
}

double checked_log_sum_exp(std::span<const float> logits) {
  const double sum = log_sum_exp(logits);
  if (!std::isfinite(sum)) refuse_logits();
  return sum;
}

std::vector<Alternative> most_likely(std::span<const float> logits, int32_t count, double log_sum,
                                     SamplerWorkspace& workspace) {
  select_largest(logits, count, -kInfinity, workspace);
  std::vector<Alternative> alternatives;
  alternatives.reserve(workspace.ids.size());
  for (int32_t id : workspace.ids) {
    alternatives.push_back(
        {id, static_cast<float>(static_cast<double>(logits[static_cast<size_t>(id)]) - log_sum)});
  }
  const auto value = [&](const Alternative& one) { return logits[static_cast<size_t>(one.token)]; };
  std::stable_sort(alternatives.begin(), alternatives.end(),
                   [&](const Alternative& a, const Alternative& b) { return value(a) > value(b); });
  return alternatives;
}

}  // namespace

SamplerWorkspace::SamplerWorkspace(int32_t vocab) {
  const auto size = static_cast<size_t>(vocab);
  logits.resize(size);
  ids.reserve(size);
  weights.reserve(size);
  largest.reserve(size);
  edge.reserve(size);
}

Sampler::Sampler(const SamplingParams& params, int32_t sample, std::span<const int32_t> prompt)
    : params_(params),
      seed_(params.seed + static_cast<uint64_t>(sample)),
      penalises_(params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
                 params.frequency_penalty != 0.0f) {
  if (penalises_ && params.repetition_penalty != 1.0f) {
    for (int32_t token : prompt) seen_.try_emplace(token, 0);
  }
}

void Sampler::accept(int32_t token) {
  ++generated_;
  if (penalises_) ++seen_[token];
}

bool Sampler::is_stop_token(int32_t token) const {
  return std::find(params_.stop_tokens.begin(), params_.stop_tokens.end(), token) !=
         params_.stop_tokens.end();
}

bool Sampler::edits_logits() const {
  return penalises_ || !params_.logit_bias.empty() ||
         (generated_ < params_.min_tokens && !params_.stop_tokens.empty());
}

void Sampler::edit(std::span<float> logits) const {
  const auto at = [&](int32_t token) -> float& { return logits[static_cast<size_t>(token)]; };
  for (const auto& [token, bias] : params_.logit_bias) at(token) += bias;
  for (const auto& [token, count] : seen_) {
    float& logit = at(token);
    logit = logit > 0 ? logit / params_.repetition_penalty : logit * params_.repetition_penalty;
    if (count > 0) logit -= params_.frequency_penalty * static_cast<float>(count) + params_.presence_penalty;
  }
  if (generated_ < params_.min_tokens) {
    for (int32_t token : params_.stop_tokens) at(token) = -kInfinity;
  }
}

SampledToken Sampler::sample(std::span<const float> logits, SamplerWorkspace& workspace) const {
  SampledToken sampled;
  double log_sum = 0;
  if (params_.logprobs >= 0) {
    log_sum = checked_log_sum_exp(logits);
    sampled.alternatives = most_likely(logits, params_.logprobs, log_sum, workspace);
  }
  std::span<const float> edited = logits;
  if (edits_logits()) {
    std::copy(logits.begin(), logits.end(), workspace.logits.begin());
    edit(workspace.logits);
    edited = workspace.logits;
  }
  if (params_.temperature < kGreedyBelow) {
    sampled.token = argmax(edited);
    if (sampled.token < 0 || edited[static_cast<size_t>(sampled.token)] == kInfinity) refuse_logits();
  } else {
    sampled.token = draw(edited, workspace);
  }
  if (params_.logprobs >= 0) {
    sampled.logprob =
        static_cast<float>(static_cast<double>(logits[static_cast<size_t>(sampled.token)]) - log_sum);
  }
  return sampled;
}

int32_t Sampler::draw(std::span<const float> logits, SamplerWorkspace& workspace) const {
  const float max = max_of(logits);
  if (!std::isfinite(max)) refuse_logits();
  const float scale = 1.0f / params_.temperature;
  const double uniform = philox_uniform(seed_, static_cast<uint64_t>(generated_));
  const bool selects =
      params_.min_p > 0 || (params_.top_k > 0 && static_cast<size_t>(params_.top_k) < logits.size());

  std::vector<float>& weights = workspace.weights;
  if (selects) {
    const float floor =
        params_.min_p > 0 ? std::min(max, max + params_.temperature * std::log(params_.min_p)) : -kInfinity;
    const int32_t count = params_.top_k > 0 ? params_.top_k : std::numeric_limits<int32_t>::max();
    select_largest(logits, count, floor, workspace);
    weights.clear();
    for (int32_t id : workspace.ids) weights.push_back(logits[static_cast<size_t>(id)]);
    exp_shifted(weights, max, scale, weights.data());
  } else {
    weights.resize(logits.size());
    exp_shifted(logits, max, scale, weights.data());
    if (!std::isfinite(sum_of(weights))) refuse_logits();
  }
  if (params_.top_p < 1.0f) keep_nucleus(weights, params_.top_p, workspace);
  const size_t drawn = draw_weighted(weights, uniform);
  return selects ? workspace.ids[drawn] : static_cast<int32_t>(drawn);
}

float token_logprob(std::span<const float> logits, int32_t token) {
  return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(token)]) -
                            checked_log_sum_exp(logits));
}

}  // namespace kraken
