// One sample of one request, from enqueue to its last event. Survives preemption: only the cached keys and
// values are lost then, and recomputed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/executor.h"
#include "runtime/kv_cache.h"
#include "runtime/sampler.h"

namespace kraken {

struct Sequence {
  RequestId request = 0;
  int32_t sample = 0;
  Request::Kind kind = Request::Kind::Generate;
  uint64_t arrival = 0;  // unique; the older has the smaller

  std::vector<int32_t> tokens;  // the prompt, then the output
  int32_t prompt_length = 0;
  int32_t token_limit = 0;   // prompt and output together; reaching it ends the sample with Length
  int32_t computed = 0;      // leading tokens whose keys and values are cached
  int32_t rows_emitted = 0;  // Score, Logits: prompt rows whose values have left already
  BlockTable blocks;
  int32_t preemptions = 0;
  // Sample 0 of Generate, from its admission on: prompt tokens whose keys and values others had left behind.
  std::optional<int32_t> cached_tokens;

  std::optional<Sampler> sampler;  // Generate

  // Samples 1 … n − 1, until sample 0 has computed the prompt; they then start from its full blocks.
  std::vector<std::unique_ptr<Sequence>> siblings;

  Clock::time_point enqueued_at;
  std::optional<Clock::time_point> scheduled_at, first_token_at;

  int32_t length() const { return static_cast<int32_t>(tokens.size()); }
  int32_t pending() const { return length() - computed; }
  // One token to compute after others of the sequence: a step that decodes.
  bool decoding() const { return kind == Request::Kind::Generate && computed > 0 && pending() == 1; }
  // Rows of the prompt whose logits the request is made of; row i predicts token i + 1.
  int32_t prompt_rows() const {
    if (kind == Request::Kind::Generate) return 0;
    return kind == Request::Kind::Score ? prompt_length - 1 : prompt_length;
  }
};

}  // namespace kraken
