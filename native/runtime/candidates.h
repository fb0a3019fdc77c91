// Selections among the tokens of one row, without sorting the vocabulary.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "runtime/sampler.h"

namespace kraken {

// workspace.ids := the `count` largest elements that are at least `floor`, ascending by index. Among equals
// at the edge the lowest indices.
void select_largest(std::span<const float> x, int32_t count, float floor, SamplerWorkspace& workspace);

// The elements of a list of logits from the likeliest down, the lower position first among equals.
class LikeliestFirst {
 public:
  // Weights are exp((logit − max) · scale), of no NaN.
  LikeliestFirst(std::span<const float> logits, std::span<const float> weights, float max, float scale,
                 SamplerWorkspace& workspace);

  uint64_t mass() const { return mass_; }

  struct Reached {
    size_t position;
    uint64_t mass;  // of this element and all before it
  };
  // The first element with which the mass is at least `wanted`, in 1 … mass().
  Reached reach(uint64_t wanted) const;

 private:
  std::span<const float> logits_, weights_;
  SamplerWorkspace& workspace_;
  uint64_t mass_ = 0;
};

}  // namespace kraken
