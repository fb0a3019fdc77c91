#include "runtime/limits.h"

#include <gtest/gtest.h>

#include "executor_harness.h"

namespace kraken {
namespace {

using namespace test;

TEST(Limits, DefaultsAndMemory) {
  ExecutorOptions options;
  options.ranks = 2;
  ModelSizes sizes{1000, 500, 16, 1 << 20, 100 << 20};
  LocalExecutorConfig config = decide_limits(options, sizes, size_t{8} << 30);
  EXPECT_EQ(config.max_sequence_length, 500);
  EXPECT_EQ(config.kv_blocks, 8 * 32);
  EXPECT_EQ(config.max_step_tokens, 500);
  EXPECT_EQ(config.prefill_chunk, 256);
  EXPECT_EQ(config.max_rows, 8 + 128);
  EXPECT_GE(config.threads_per_rank, 1);
  config = decide_limits(options, sizes, size_t{200} << 20);  // 60 % of 100 MiB
  EXPECT_EQ(config.kv_blocks, 60);
  EXPECT_EQ(code_of([&] { decide_limits(options, sizes, size_t{140} << 20); }), "ERR_OUT_OF_MEMORY");
  options.kv_cache_tokens = 100;
  EXPECT_EQ(decide_limits(options, sizes, size_t{140} << 20).kv_blocks, 7);
  EXPECT_EQ(code_of([&] { decide_limits(options, sizes, size_t{101} << 20); }), "ERR_OUT_OF_MEMORY");
  options.max_sequence_length = 501;
  EXPECT_EQ(code_of([&] { decide_limits(options, sizes, 0); }), "ERR_CONTEXT_LENGTH");
  EXPECT_GT(available_memory(), size_t{1} << 20);
}

}  // namespace
}  // namespace kraken
