#include "runtime/shortlist.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/sampler.h"
#include "runtime/vector_math.h"

namespace kraken {
namespace {

bool is_likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

}  // namespace

float Filters::floor(float max) const {
  if (min_p <= 0) return -std::numeric_limits<float>::infinity();
  return std::min(max, max + temperature * std::log(min_p));
}

uint64_t Filters::nucleus(uint64_t mass) const {
  const double wanted = std::ceil(static_cast<double>(top_p) * static_cast<double>(mass));
  return std::clamp<uint64_t>(static_cast<uint64_t>(wanted), 1, mass);
}

uint64_t drawn_mass(double uniform, uint64_t mass) {
  return std::min(static_cast<uint64_t>(uniform * static_cast<double>(mass)), mass - 1);
}

// What a rank has not sent comes after the last that it has: there the list must end.
std::optional<Shortlist> join_shards(std::span<const ShardShortlist> shards, SamplerWorkspace& workspace) {
  std::vector<Candidate>& all = workspace.candidates;
  all.clear();
  Shortlist joined{{}, true, 0};
  std::optional<Candidate> last;
  for (const ShardShortlist& shard : shards) {
    if (!shard.has_numbers) return {};
    all.insert(all.end(), shard.candidates.begin(), shard.candidates.end());
    *joined.mass += shard.mass;
    if (shard.is_whole || shard.candidates.empty()) continue;
    const Candidate end = *std::ranges::max_element(shard.candidates, is_likelier);
    if (!last || is_likelier(end, *last)) last = end;
  }
  std::ranges::sort(all, is_likelier);
  joined.candidates = all;
  if (last) {
    joined.is_whole = false;
    const auto end = std::ranges::upper_bound(all, *last, is_likelier);
    joined.candidates = joined.candidates.first(static_cast<size_t>(end - all.begin()));
  }
  return joined;
}

std::optional<int32_t> choose(const Shortlist& shortlist, const Filters& filters, double uniform,
                              SamplerWorkspace& workspace) {
  std::span<const Candidate> left = shortlist.candidates;
  if (left.empty()) return {};
  if (filters.is_greedy()) return left.front().token;
  bool is_all_that_is_left = shortlist.is_whole;
  if (filters.top_k > 0 && left.size() >= static_cast<size_t>(filters.top_k)) {
    left = left.first(static_cast<size_t>(filters.top_k));
    is_all_that_is_left = true;
  }
  const float max = left.front().logit, floor = filters.floor(max);
  const auto below =
      std::ranges::partition_point(left, [=](const Candidate& one) { return one.logit >= floor; });
  if (below != left.end()) {
    left = left.first(static_cast<size_t>(below - left.begin()));
    is_all_that_is_left = true;
  }
  if (!is_all_that_is_left && (filters.selects() || !shortlist.mass)) return {};

  std::vector<float>& weights = workspace.short_weights;
  weights.clear();
  for (const Candidate& one : left) weights.push_back(one.logit);
  exp_shifted(weights, max, 1.0f / filters.temperature, weights.data());
  std::vector<uint64_t>& reached = workspace.reached;
  reached.clear();
  uint64_t mass = 0;
  for (const float weight : weights) reached.push_back(mass += units_of(weight));
  if (!is_all_that_is_left) mass = std::max(mass, *shortlist.mass);

  if (filters.top_p < 1.0f) {
    const auto end = std::ranges::lower_bound(reached, filters.nucleus(mass));
    if (end == reached.end()) return {};
    mass = *end;
  }
  const auto drawn = std::ranges::upper_bound(reached, drawn_mass(uniform, mass));
  if (drawn == reached.end()) return {};
  return left[static_cast<size_t>(drawn - reached.begin())].token;
}

}  // namespace kraken
