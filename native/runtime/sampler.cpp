#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "runtime/candidates.h"
#include "runtime/philox.h"
#include "runtime/vector_math.h"

namespace kraken {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The tokens among which a draw from a whole row is looked for first: at least that likely beside the
// likeliest, and not more than that many.
constexpr float kLikelyShare = 0.02f;
constexpr size_t kMostLikely = 1024;

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
  buckets.reserve(size);
  values.reserve(size);
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
  if (filters(logits.size()).is_greedy()) {
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

Filters Sampler::filters(size_t vocab) const {
  const bool limits = params_.top_k > 0 && static_cast<size_t>(params_.top_k) < vocab;
  return {params_.temperature, limits ? params_.top_k : 0, params_.top_p, params_.min_p};
}

double Sampler::uniform() const {
  return philox_uniform(seed_, static_cast<uint64_t>(generated_));
}

std::optional<ShortlistRequest> Sampler::shortlist_request(int32_t vocab) const {
  const Filters filters = this->filters(static_cast<size_t>(vocab));
  if (params_.logprobs >= 0 || edits_logits() || filters.top_k > kMaxShortlist) return {};
  if (filters.is_greedy()) return ShortlistRequest{1};
  const int32_t count = filters.top_k > 0 ? filters.top_k : kMaxShortlist;
  return ShortlistRequest{count, !filters.selects(), 1.0f / filters.temperature};
}

std::optional<int32_t> Sampler::choose(std::span<const ShardShortlist> shards, int32_t vocab,
                                       SamplerWorkspace& workspace) const {
  std::optional<Shortlist> shortlist = join_shards(shards, workspace);
  if (!shortlist) return {};
  const Filters filters = this->filters(static_cast<size_t>(vocab));
  if (filters.selects()) shortlist->mass.reset();  // was not asked for
  return kraken::choose(*shortlist, filters, uniform(), workspace);
}

int32_t Sampler::draw(std::span<const float> logits, SamplerWorkspace& workspace) const {
  constexpr int32_t kAll = std::numeric_limits<int32_t>::max();
  const float max = max_of(logits);
  if (!std::isfinite(max)) refuse_logits();
  const Filters filters = this->filters(logits.size());
  const float scale = 1.0f / filters.temperature;
  std::vector<float>& weights = workspace.weights;
  std::span<const float> values = logits;
  if (filters.selects()) {
    select_largest(logits, filters.top_k > 0 ? filters.top_k : kAll, filters.floor(max), workspace);
    workspace.values.clear();
    for (int32_t id : workspace.ids) workspace.values.push_back(logits[static_cast<size_t>(id)]);
    values = workspace.values;
  }
  weights.resize(values.size());
  exp_shifted(values, max, scale, weights.data());
  if (!filters.selects()) {
    const std::optional<uint64_t> mass = mass_of(weights);
    if (!mass) refuse_logits();
    select_largest(logits, kAll, max + filters.temperature * std::log(kLikelyShare), workspace);
    if (workspace.ids.size() <= kMostLikely) {
      std::vector<Candidate>& likely = workspace.candidates;
      likely.clear();
      for (int32_t id : workspace.ids) likely.push_back({logits[static_cast<size_t>(id)], id});
      std::ranges::stable_sort(likely, std::greater<>(), &Candidate::logit);
      if (const auto token = kraken::choose({likely, false, mass}, filters, uniform(), workspace))
        return *token;
    }
  }
  LikeliestFirst row(values, weights, max, scale, workspace);
  uint64_t mass = row.mass();
  if (filters.top_p < 1.0f) mass = row.reach(filters.nucleus(mass)).mass;
  const size_t drawn = row.reach(drawn_mass(uniform(), mass) + 1).position;
  return filters.selects() ? workspace.ids[drawn] : static_cast<int32_t>(drawn);
}

float token_logprob(std::span<const float> logits, int32_t token) {
  return static_cast<float>(static_cast<double>(logits[static_cast<size_t>(token)]) -
                            checked_log_sum_exp(logits));
}

}  // namespace kraken
