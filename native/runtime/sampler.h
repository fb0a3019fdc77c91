// Chooses the next token of one sequence. What happens to the logits, in vLLM's order
// (vllm/v1/sample/sampler.py):
//
//   1. stop tokens are impossible before min_tokens; logit_bias is added;
//   2. repetition_penalty divides positive and multiplies negative logits of tokens in prompt or output
//   (Hugging
//      Face); frequency_penalty · count and presence_penalty are subtracted for output tokens (OpenAI);
//   3. temperature 0 (or below 1e-5): the largest logit wins, the lowest id among equals. Otherwise logits
//   are
//      divided by the temperature;
//   4. min_p drops tokens less than min_p times as likely as the likeliest;
//   5. top_k keeps the k largest; among equals at the edge, lowest ids;
//   6. top_p keeps the likeliest of what is left until their share reaches top_p, at least one;
//   7. one of the rest is drawn, by a random number that depends on seed + sample and on how many tokens the
//      sequence has generated, and on nothing else. The number is a share of the mass, counted from the
//      likeliest token down, so that it mostly falls on one of a short list (shortlist.h).
//
// Log-probabilities are those of the model: of the logits before step 1.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/executor.h"
#include "runtime/sampling_params.h"
#include "runtime/shortlist.h"

namespace kraken {

struct SampledToken {
  int32_t token = -1;
  float logprob = std::numeric_limits<float>::quiet_NaN();  // when asked for
  std::vector<Alternative> alternatives;                    // likeliest first; the lower id among equals
};

// Scratch memory of a thread that samples.
struct SamplerWorkspace {
  explicit SamplerWorkspace(int32_t vocab);
  std::vector<float> logits;          // [V] after steps 1 and 2
  std::vector<int32_t> ids;           // candidates, ascending
  std::vector<float> values;          // their logits
  std::vector<float> weights;         // theirs, relative to the likeliest
  std::vector<float> largest;         // of a selection
  std::vector<int32_t> edge;          // candidates among which a mass is reached
  std::vector<uint16_t> buckets;      // candidates by magnitude
  std::vector<uint64_t> masses;       // of buckets
  std::vector<Candidate> candidates;  // of a shortlist
  std::vector<float> short_weights;   // theirs
  std::vector<uint64_t> reached;      // their mass and that of all before them
};

class Sampler {
 public:
  Sampler(const SamplingParams& params, int32_t sample, std::span<const int32_t> prompt);

  // logits: [V], as the model computed them. Throws ERR_CHECKPOINT_VALUES when they are not numbers.
  SampledToken sample(std::span<const float> logits, SamplerWorkspace& workspace) const;

  // What to ask of a backend in place of the logits; nothing where it takes all of them.
  std::optional<ShortlistRequest> shortlist_request(int32_t vocab) const;
  // The token that sample() would choose, from what all ranks answered to that; nothing where it takes the
  // logits.
  std::optional<int32_t> choose(std::span<const ShardShortlist> shards, int32_t vocab,
                                SamplerWorkspace& workspace) const;

  // The sequence goes on with this token.
  void accept(int32_t token);

  int32_t generated() const { return generated_; }
  bool is_stop_token(int32_t token) const;
  const SamplingParams& params() const { return params_; }

 private:
  Filters filters(size_t vocab) const;
  double uniform() const;
  bool edits_logits() const;
  void edit(std::span<float> logits) const;
  int32_t draw(std::span<const float> logits, SamplerWorkspace& workspace) const;

  SamplingParams params_;
  uint64_t seed_;
  bool penalises_;
  int32_t generated_ = 0;
  std::unordered_map<int32_t, int32_t> seen_;  // tokens of prompt and output → their count in the output
};

// Natural logarithm of the model's probability of a token. Throws ERR_CHECKPOINT_VALUES as sample() does.
float token_logprob(std::span<const float> logits, int32_t token);

}  // namespace kraken
