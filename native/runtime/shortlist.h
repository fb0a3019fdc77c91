// The likeliest tokens of a row, from which the next one is chosen mostly without a look at the others: a
// device then sends a hundred numbers and keeps the vocabulary. The choice never depends on how long the list
// is. Tokens are taken likeliest first and weights are integers, so a list says the same as the whole row or
// that it does not reach far enough.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"

namespace kraken {

struct SamplerWorkspace;

constexpr float kGreedyBelow = 1e-5f;  // as vLLM: smaller temperatures overflow

// Steps 3 to 6 of the sampler, as they concern one row.
struct Filters {
  float temperature = 1.0f;
  int32_t top_k = 0;  // 0: off, also when the vocabulary has no more
  float top_p = 1.0f;
  float min_p = 0.0f;

  bool is_greedy() const { return temperature < kGreedyBelow; }
  // Whether what is left of a row is known without its other tokens' mass.
  bool selects() const { return top_k > 0 || min_p > 0; }
  // Tokens below it are not min_p times as likely as the likeliest.
  float floor(float max) const;
  // Of the mass of what is left: how much the nucleus must reach.
  uint64_t nucleus(uint64_t mass) const;
};

// The draw falls on the first token with which the mass is larger.
uint64_t drawn_mass(double uniform, uint64_t mass);

struct Shortlist {
  std::span<const Candidate> candidates;  // likeliest first, the lower id among equals
  bool is_whole = false;                  // all other tokens are impossible
  std::optional<uint64_t> mass;           // of the whole row, where it is known
};

// Of all ranks' columns. Nothing when they are no numbers. The candidates lie in the workspace.
std::optional<Shortlist> join_shards(std::span<const ShardShortlist> shards, SamplerWorkspace& workspace);

// The token that the whole row would give, or nothing where it takes the whole row to know.
std::optional<int32_t> choose(const Shortlist& shortlist, const Filters& filters, double uniform,
                              SamplerWorkspace& workspace);

}  // namespace kraken
