// How the next token is chosen. JavaScript validates ranges and fills defaults (lib/sampling.ts).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace kraken {

struct SamplingParams {
  float temperature = 1.0f;                                 // 0: greedy
  int32_t top_k = 0;                                        // 0: off
  float top_p = 1.0f;                                       // 1: off
  float min_p = 0.0f;                                       // 0: off; relative to the most likely token
  float repetition_penalty = 1.0f;                          // > 1 discourages tokens of prompt and output
  float presence_penalty = 0.0f, frequency_penalty = 0.0f;  // of output tokens
  uint64_t seed = 0;
  std::vector<std::pair<int32_t, float>> logit_bias;
  int32_t max_tokens = 16;
  int32_t min_tokens = 0;  // stop tokens are impossible before that many
  std::vector<int32_t> stop_tokens;
  int32_t logprobs = -1;  // -1: none; k ≥ 0: the chosen token's and the k most likely alternatives
};

}  // namespace kraken
