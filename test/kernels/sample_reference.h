// What sampling means, in float64 and by sorting.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "philox.cuh"
#include "sample.h"

namespace kraken::test {

struct SampleReference {
  int32_t id = -1;
  std::vector<double> probabilities;  // [V], 0 for what was filtered out
  // Rounding may decide otherwise: which token ends the nucleus, or on which side of an edge the draw falls.
  bool is_near_an_edge = false;
};

inline double log_probability(const std::vector<float>& logits, int32_t id) {
  const double max = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
  return static_cast<double>(logits[static_cast<size_t>(id)]) - max - std::log(sum);
}

inline SampleReference sample_reference(const std::vector<float>& logits, const kernels::SampleRow& row) {
  constexpr double kRounding = 1e-6;
  SampleReference result;
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  if (row.temperature < 1e-5f) {
    result.id = static_cast<int32_t>(order[0]);
    return result;
  }
  const double temperature = static_cast<double>(row.temperature),
               max = static_cast<double>(logits[order[0]]);
  if (row.top_k > 0 && static_cast<size_t>(row.top_k) < order.size())
    order.resize(static_cast<size_t>(row.top_k));
  const auto weight = [&](size_t id) {
    return std::exp((static_cast<double>(logits[id]) - max) / temperature);
  };
  if (row.min_p > 0) {
    const double min_p = static_cast<double>(row.min_p);
    for (const size_t id : order) {
      if (std::abs(weight(id) / min_p - 1) < kRounding) result.is_near_an_edge = true;
    }
    std::erase_if(order, [&](size_t id) { return weight(id) < min_p; });
  }
  double total = 0;
  for (const size_t id : order) total += weight(id);
  if (row.top_p < 1) {
    const double wanted = static_cast<double>(row.top_p) * total;
    double kept = 0;
    size_t count = 0;
    while (count < order.size() && kept < wanted) {
      kept += weight(order[count++]);
      if (std::abs(kept - wanted) < kRounding * total) result.is_near_an_edge = true;
    }
    order.resize(std::max<size_t>(count, 1));
    total = kept;
  }
  result.probabilities.assign(logits.size(), 0.0);
  for (const size_t id : order) result.probabilities[id] = weight(id) / total;
  const double uniform = kernels::philox_uniform(row.seed, row.position);
  double reached = 0;
  for (size_t id = 0; id < logits.size(); ++id) {
    if (result.probabilities[id] == 0) continue;
    reached += result.probabilities[id];
    if (std::abs(reached - uniform) < kRounding) result.is_near_an_edge = true;
    if (result.id < 0 && reached > uniform) result.id = static_cast<int32_t>(id);
  }
  if (result.id < 0) result.id = static_cast<int32_t>(*std::max_element(order.begin(), order.end()));
  return result;
}

}  // namespace kraken::test
