// The sizes an executor works within: fills in what ExecutorOptions left at 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/executor.h"
#include "runtime/local_executor.h"

namespace kraken {

// What the limits depend on besides the options.
struct ModelSizes {
  int32_t vocab = 0;
  int32_t max_positions = 0;
  int32_t kv_block_tokens = 0;
  size_t kv_block_bytes = 0;  // of one block, all ranks together
  size_t weight_bytes = 0;    // all ranks together
};

// Throws ERR_CONTEXT_LENGTH (max_sequence_length beyond the model's positions) and ERR_OUT_OF_MEMORY (the
// cache of a single sequence exceeds 60 % of `available_bytes`, what remains of it after the weights; a cache
// of kv_cache_tokens exceeds all of it).
LocalExecutorConfig decide_limits(const ExecutorOptions& options, const ModelSizes& sizes,
                                  size_t available_bytes);

// Rows of logits that a step may have: of what decodes, and of Score and Logits requests.
int32_t rows_of_step(int32_t max_batch_size, int32_t max_step_tokens);

// Bytes this process may still allocate without swapping: the machine's, or what its control group leaves.
size_t available_memory();

}  // namespace kraken
