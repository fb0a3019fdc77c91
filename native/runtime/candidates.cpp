#include "runtime/candidates.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "runtime/vector_math.h"

namespace kraken {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kBlock = 128;

// The count-th largest element that is at least `floor` and how many equal to it belong to the selection.
struct Edge {
  float value;
  size_t equals;
};

// Collects elements above a threshold that rises: whenever twice as many as needed are there, half can go.
// After the first few blocks hardly any block has an element above it.
Edge find_edge(std::span<const float> x, size_t count, float floor, std::vector<float>& largest) {
  constexpr size_t kEverything = std::numeric_limits<size_t>::max();
  if (count >= x.size()) return {floor, kEverything};
  largest.clear();
  const size_t limit = std::max(2 * count, count + 1024);
  const auto keep_largest = [&] {
    std::nth_element(largest.begin(), largest.begin() + static_cast<ptrdiff_t>(count - 1), largest.end(),
                     std::greater<>());
    largest.resize(count);
    return largest.back();
  };
  float threshold = std::nextafter(floor, -kInfinity);  // collect what is larger
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const auto block = x.subspan(begin, std::min(kBlock, x.size() - begin));
    if (!(max_of(block) > threshold)) continue;
    for (float value : block) {
      if (value > threshold) largest.push_back(value);
    }
    if (largest.size() >= limit) threshold = keep_largest();
  }
  if (largest.size() < count) return {floor, kEverything};
  const float edge = keep_largest();
  const auto above = std::count_if(largest.begin(), largest.end(), [=](float value) { return value > edge; });
  return {edge, count - static_cast<size_t>(above)};
}

}  // namespace

void select_largest(std::span<const float> x, int32_t count, float floor, SamplerWorkspace& workspace) {
  workspace.ids.clear();
  if (count <= 0) return;
  Edge edge = find_edge(x, static_cast<size_t>(count), floor, workspace.largest);
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, x.size());
    if (!(max_of(x.subspan(begin, end - begin)) >= edge.value)) continue;
    for (size_t i = begin; i < end; ++i) {
      if (!(x[i] >= edge.value)) continue;
      if (x[i] == edge.value) {
        if (edge.equals == 0) continue;
        --edge.equals;
      }
      workspace.ids.push_back(static_cast<int32_t>(i));
    }
  }
}

LikeliestFirst::LikeliestFirst(std::span<const float> logits, std::span<const float> weights, float max,
                               float scale, SamplerWorkspace& workspace)
    : logits_(logits), weights_(weights), workspace_(workspace) {
  const size_t size = logits.size();
  workspace.buckets.resize(size);
  magnitudes(logits, max, scale, workspace.buckets.data());
  // Neighbours often fall into the same bucket: two sets of sums, so that they need not wait for each other.
  workspace.masses.assign(2 * kMagnitudes, 0);
  for (size_t i = 0; i < size; ++i) {
    workspace.masses[i % 2 * kMagnitudes + workspace.buckets[i]] += units_of(weights[i]);
  }
  for (size_t bucket = 0; bucket < kMagnitudes; ++bucket) {
    mass_ += workspace.masses[bucket] += workspace.masses[kMagnitudes + bucket];
  }
}

LikeliestFirst::Reached LikeliestFirst::reach(uint64_t wanted) const {
  KRAKEN_CHECK(wanted > 0 && wanted <= mass_);
  uint16_t bucket = 0;
  uint64_t mass = 0;
  while (mass + workspace_.masses[bucket] < wanted) mass += workspace_.masses[bucket++];

  std::vector<int32_t>& inside = workspace_.edge;
  inside.clear();
  const uint16_t* buckets = workspace_.buckets.data();
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (buckets[i] == bucket) inside.push_back(static_cast<int32_t>(i));
  }
  const auto logit = [&](int32_t i) { return logits_[static_cast<size_t>(i)]; };
  std::ranges::stable_sort(inside, std::greater<>(), logit);
  for (const int32_t i : inside) {
    mass += units_of(weights_[static_cast<size_t>(i)]);
    if (mass >= wanted) return {static_cast<size_t>(i), mass};
  }
  internal_error("the mass of a row is not that of its elements");
}

}  // namespace kraken
