#include "runtime/limits.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

#include "base/error.h"

namespace kraken {
namespace {

constexpr int32_t kDefaultStepTokens = 2048;
constexpr int32_t kDefaultPrefillChunk = 256;
constexpr int32_t kScoreRows = 128;  // rows of Score and Logits requests in a step: bounds the logits' memory
constexpr double kCacheShare = 0.6;

std::string mebibytes(double bytes) {
  return std::to_string(static_cast<int64_t>(bytes / (1 << 20))) + " MiB";
}

int32_t blocks_within_memory(const ExecutorOptions& options, const ModelSizes& sizes, int32_t sequence_blocks,
                             size_t available_bytes) {
  const auto bytes = static_cast<double>(sizes.kv_block_bytes);
  const double room = kCacheShare * std::max(0.0, static_cast<double>(available_bytes) -
                                                      static_cast<double>(sizes.weight_bytes));
  const int64_t wanted = int64_t{sequence_blocks} * options.max_batch_size;
  const auto fitting = bytes > 0 ? static_cast<int64_t>(std::min(room / bytes, 2e9)) : wanted;
  if (fitting >= sequence_blocks)
    return static_cast<int32_t>(std::min({wanted, fitting, int64_t{2'000'000'000}}));
  throw Error("ERR_OUT_OF_MEMORY", "the key/value cache of one sequence of " +
                                       std::to_string(int64_t{sequence_blocks} * sizes.kv_block_tokens) +
                                       " tokens needs " + mebibytes(bytes * sequence_blocks) + ", but only " +
                                       mebibytes(room) +
                                       " may be used for it: lower maxSequenceLength, or set kvCacheTokens");
}

// What was asked for is given or refused: memory is taken as the cache fills, and by then it would be too
// late.
int32_t blocks_asked_for(int64_t blocks, const ModelSizes& sizes, size_t available_bytes) {
  const double needed = static_cast<double>(sizes.kv_block_bytes) * static_cast<double>(blocks);
  const double room =
      std::max(0.0, static_cast<double>(available_bytes) - static_cast<double>(sizes.weight_bytes));
  if (needed <= room && blocks <= 2'000'000'000) return static_cast<int32_t>(blocks);
  throw Error("ERR_OUT_OF_MEMORY", "a key/value cache of " + std::to_string(blocks * sizes.kv_block_tokens) +
                                       " tokens needs " + mebibytes(needed) + ", but only " +
                                       mebibytes(room) + " are available: lower kvCacheTokens");
}

// The number in a file of the control group; `absent` when there is none ("max").
size_t group_bytes(const char* path, size_t absent) {
  std::ifstream file(path);
  size_t bytes = 0;
  return file >> bytes ? bytes : absent;
}

}  // namespace

int32_t rows_of_step(int32_t max_batch_size, int32_t max_step_tokens) {
  return max_batch_size + std::min(kScoreRows, max_step_tokens);
}

LocalExecutorConfig decide_limits(const ExecutorOptions& options, const ModelSizes& sizes,
                                  size_t available_bytes) {
  KRAKEN_CHECK(options.max_batch_size > 0 && options.ranks > 0 && sizes.kv_block_tokens > 0);
  if (options.max_sequence_length > sizes.max_positions) {
    throw Error("ERR_CONTEXT_LENGTH", "maxSequenceLength " + std::to_string(options.max_sequence_length) +
                                          " exceeds the model's " + std::to_string(sizes.max_positions) +
                                          " positions");
  }
  LocalExecutorConfig config;
  config.vocab = sizes.vocab;
  config.kv_block_tokens = sizes.kv_block_tokens;
  config.max_batch_size = options.max_batch_size;
  config.max_queue = options.max_queue;
  config.communication.communication = options.communication;
  config.communication.link = {options.link_latency_seconds, options.link_bytes_per_second};
  config.communication.bytes_per_element = static_cast<double>(size_of(options.dtype));
  config.prefix_reuse = options.prefix_reuse;
  config.profile = options.profile;
  config.max_sequence_length =
      options.max_sequence_length > 0 ? options.max_sequence_length : sizes.max_positions;

  const int32_t step_tokens = options.max_step_tokens > 0
                                  ? options.max_step_tokens
                                  : std::min(kDefaultStepTokens, config.max_sequence_length);
  config.max_step_tokens = std::max(step_tokens, config.max_batch_size);
  const int32_t chunk = options.prefill_chunk > 0 ? options.prefill_chunk : kDefaultPrefillChunk;
  config.prefill_chunk = std::min(chunk, config.max_step_tokens);
  config.max_rows = rows_of_step(config.max_batch_size, config.max_step_tokens);

  const auto blocks_for = [&](int64_t tokens) {
    return (tokens + sizes.kv_block_tokens - 1) / sizes.kv_block_tokens;
  };
  config.kv_blocks =
      options.kv_cache_tokens > 0
          ? blocks_asked_for(blocks_for(options.kv_cache_tokens), sizes, available_bytes)
          : blocks_within_memory(options, sizes, static_cast<int32_t>(blocks_for(config.max_sequence_length)),
                                 available_bytes);

  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  config.threads_per_rank =
      options.threads_per_rank > 0 ? options.threads_per_rank : std::max(1, cores / options.ranks);
  return config;
}

size_t available_memory() {
  size_t bytes = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::ifstream meminfo("/proc/meminfo");
  std::string name, unit;
  for (size_t kilobytes = 0; meminfo >> name >> kilobytes; std::getline(meminfo, unit)) {
    if (name == "MemAvailable:") bytes = kilobytes * 1024;
  }
  const size_t limit = group_bytes("/sys/fs/cgroup/memory.max", SIZE_MAX);
  const size_t used = group_bytes("/sys/fs/cgroup/memory.current", 0);
  if (limit != SIZE_MAX) bytes = std::min(bytes, limit > used ? limit - used : 0);
  return bytes;
}

}  // namespace kraken
