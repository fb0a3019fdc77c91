#include "runtime/candidates.h"

#include <algorithm>
#include <bit>
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

// Monotonic in w ∈ (0, 1]: 16 buckets for each power of two, the largest weights first.
constexpr size_t kBuckets = 2048;
inline size_t bucket_of(float weight) {
  return std::min((std::bit_cast<uint32_t>(1.0f) - std::bit_cast<uint32_t>(weight)) >> 19,
                  uint32_t{kBuckets - 1});
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

void keep_nucleus(std::span<float> weights, float top_p, SamplerWorkspace& workspace) {
  std::vector<double>& buckets = workspace.buckets;
  buckets.assign(kBuckets, 0.0);
  for (float weight : weights) {
    if (weight > 0) buckets[bucket_of(weight)] += static_cast<double>(weight);
  }
  double total = 0;
  for (double bucket : buckets) total += bucket;
  const double wanted = static_cast<double>(top_p) * total;

  size_t last = 0;  // the bucket in which the nucleus ends
  double kept = 0;
  while (last + 1 < kBuckets && kept + buckets[last] < wanted) kept += buckets[last++];

  std::vector<int32_t>& edge = workspace.edge;
  edge.clear();
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!(weights[i] > 0)) continue;
    const size_t bucket = bucket_of(weights[i]);
    if (bucket == last) edge.push_back(static_cast<int32_t>(i));
    if (bucket > last) weights[i] = 0;
  }
  std::sort(edge.begin(), edge.end(), [&](int32_t a, int32_t b) {
    const float wa = weights[static_cast<size_t>(a)], wb = weights[static_cast<size_t>(b)];
    return wa != wb ? wa > wb : a < b;
  });
  for (size_t i = 0; i < edge.size(); ++i) {
    float& weight = weights[static_cast<size_t>(edge[i])];
    const bool inside = kept < wanted || (i == 0 && kept == 0);
    kept += static_cast<double>(weight);
    if (!inside) weight = 0;
  }
}

size_t draw_weighted(std::span<const float> weights, double uniform) {
  constexpr size_t kSumBlock = 1024;
  const double total = sum_of(weights);
  double left = uniform * total;
  size_t last_positive = weights.size();
  for (size_t begin = 0; begin < weights.size(); begin += kSumBlock) {
    const auto block = weights.subspan(begin, std::min(kSumBlock, weights.size() - begin));
    const double sum = sum_of(block);
    if (sum > 0 && left < sum) {
      for (size_t i = 0; i < block.size(); ++i) {
        if (!(block[i] > 0)) continue;
        left -= static_cast<double>(block[i]);
        last_positive = begin + i;
        if (left < 0) return last_positive;
      }
      return last_positive;  // the block's sum was rounded up
    }
    left -= sum;
  }
  // u · total was rounded up to the total: the last possible token.
  for (size_t i = weights.size(); i-- > 0;) {
    if (weights[i] > 0) return i;
  }
  internal_error("nothing to draw from");
}

}  // namespace kraken
