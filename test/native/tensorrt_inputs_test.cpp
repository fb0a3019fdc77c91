// How a step's inputs are laid out and padded for the engine.
#include <gtest/gtest.h>

#include <numeric>

#include "backend/tensorrt/step_inputs.h"
#include "executor_harness.h"

namespace kraken::tensorrt {
namespace {

constexpr int32_t kScratch = 99;

struct Packed {
  Packed(const StepBatch& batch, const InputLayout& laid_out) : layout(laid_out), memory(layout.bytes) {
    pack_inputs(batch, layout, kScratch, memory.data());
  }
  std::vector<int32_t> operator[](Input input) const {
    const auto* begin = reinterpret_cast<const int32_t*>(memory.data() + layout.offsets[input]);
    return {begin, begin + layout.sizes[input]};
  }
  InputLayout layout;
  std::vector<std::byte> memory;
};

using Values = std::vector<int32_t>;

TEST(TensorRtInputs, LieApartAndAligned) {
  const InputLayout layout(100, 3, 5, 7);
  size_t end = 0;
  for (size_t input = 0; input < kInputs; ++input) {
    EXPECT_EQ(layout.offsets[input] % 256, 0u);
    EXPECT_GE(layout.offsets[input], end);
    end = layout.offsets[input] + static_cast<size_t>(layout.sizes[input]) * sizeof(int32_t);
  }
  EXPECT_GE(layout.bytes, end);
  EXPECT_EQ(layout.sizes, (std::array<int64_t, kInputs>{100, 100, 4, 3, 21, 5}));
}

TEST(TensorRtInputs, OfAMixedStep) {
  const Values tokens = {5, 6, 7, 8}, positions = {2, 3, 4, 70}, wanted = {2, 3}, first = {4},
               second = {1, 3};
  const StepBatch::Sequence sequences[] = {{0, 3, 2, first}, {3, 1, 70, second}};
  const Packed packed({tokens, positions, sequences, wanted}, InputLayout(4, 2, 2, 3));
  EXPECT_EQ(packed[kIds], tokens);
  EXPECT_EQ(packed[kPositions], positions);
  EXPECT_EQ(packed[kSequenceBegins], (Values{0, 3, 4}));
  EXPECT_EQ(packed[kPastLengths], (Values{2, 70}));
  EXPECT_EQ(packed[kBlockTables], (Values{4, kScratch, kScratch, 1, 3, kScratch}));
  EXPECT_EQ(packed[kWantedRows], wanted);
}

TEST(TensorRtInputs, OfAStepThatWantsNothingNameItsLastRow) {
  const Values tokens = {5, 6}, positions = {0, 1}, blocks = {0};
  const StepBatch::Sequence sequence{0, 2, 0, blocks};
  const Packed packed({tokens, positions, {&sequence, 1}, {}}, InputLayout(2, 1, 1, 1));
  EXPECT_EQ(packed[kWantedRows], (Values{1}));
}

TEST(TensorRtInputs, OfADecodeStepArePaddedWithSequencesThatNobodyReads) {
  const Values tokens = {5, 6, 7}, positions = {9, 0, 64}, wanted = {0, 1, 2}, a = {3}, b = {4}, c = {0, 1};
  const StepBatch::Sequence sequences[] = {{0, 1, 9, a}, {1, 1, 0, b}, {2, 1, 64, c}};
  const StepBatch batch{tokens, positions, sequences, wanted};
  ASSERT_TRUE(is_decode_step(batch));
  const Packed packed(batch, InputLayout(5, 5, 5, 2));
  EXPECT_EQ(packed[kIds], (Values{5, 6, 7, 0, 0}));
  EXPECT_EQ(packed[kPositions], (Values{9, 0, 64, 0, 0}));
  EXPECT_EQ(packed[kSequenceBegins], (Values{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(packed[kPastLengths], (Values{9, 0, 64, 0, 0}));
  EXPECT_EQ(packed[kBlockTables],
            (Values{3, kScratch, 4, kScratch, 0, 1, kScratch, kScratch, kScratch, kScratch}));
  EXPECT_EQ(packed[kWantedRows], (Values{0, 1, 2, 3, 4}));
}

TEST(TensorRtInputs, APromptIsNoDecodeStep) {
  const Values tokens = {5, 6}, positions = {0, 1}, wanted = {1}, blocks = {0};
  const StepBatch::Sequence sequence{0, 2, 0, blocks};
  EXPECT_FALSE(is_decode_step({tokens, positions, {&sequence, 1}, wanted}));
}

TEST(TensorRtBuckets, CoverEverySizeWithLittlePadding) {
  for (const int64_t most : {1, 3, 8, 13, 64, 100, 4096}) {
    const std::vector<int64_t> buckets = decode_buckets(most);
    EXPECT_EQ(buckets.back(), most);
    EXPECT_TRUE(std::is_sorted(buckets.begin(), buckets.end()));
    EXPECT_LE(buckets.size(), 48u);
    for (int64_t size = 1; size <= most; ++size) {
      const int64_t bucket = decode_bucket(size, most);
      EXPECT_GE(bucket, size);
      EXPECT_TRUE(std::binary_search(buckets.begin(), buckets.end(), bucket)) << size;
      if (size > 32) {
        EXPECT_LE(static_cast<double>(bucket - size), 0.2 * static_cast<double>(bucket)) << size;
      }
    }
  }
  EXPECT_EQ(decode_buckets(40), (std::vector<int64_t>{1, 2, 4, 8, 16, 24, 32, 40}));
}

}  // namespace
}  // namespace kraken::tensorrt
