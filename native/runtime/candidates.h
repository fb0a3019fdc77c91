// Selections among the tokens of one row, without sorting the vocabulary.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/sampler.h"

namespace kraken {

// workspace.ids := the `count` largest elements that are at least `floor`, ascending by index. Among equals
// at the edge the lowest indices.
void select_largest(std::span<const float> x, int32_t count, float floor, SamplerWorkspace& workspace);

// Sets the weights outside the nucleus to 0: what remains is the shortest list, likeliest first (the lower
// position among equals), whose share of all weights reaches top_p.
void keep_nucleus(std::span<float> weights, float top_p, SamplerWorkspace& workspace);

// A position drawn in proportion to the weights; `uniform` in [0, 1).
size_t draw_weighted(std::span<const float> weights, double uniform);

}  // namespace kraken
