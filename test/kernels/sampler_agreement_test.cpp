// The device's sampler and the CPU's choose the same tokens: same filters, same order, same random numbers.
#include <gtest/gtest.h>

#include <cstdio>
#include <random>

#include "philox.cuh"
#include "runtime/philox.h"
#include "runtime/sampler.h"
#include "sample.h"

namespace kraken {
namespace {

TEST(KernelSample, PhiloxIsTheCpus) {
  for (uint64_t seed : {uint64_t{0}, uint64_t{7}, uint64_t{0xfedcba9876543210}}) {
    for (uint64_t position : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40}) {
      EXPECT_EQ(kernels::philox_uniform(seed, position), philox_uniform(seed, position));
    }
  }
}

TEST(KernelSample, ChoosesWhatTheCpuChooses) {
  constexpr int32_t kVocab = 2000;
  SamplerWorkspace workspace(kVocab);
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(kVocab);
  int draws = 0, different = 0;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    for (float& logit : logits) logit = seed % 2 == 0 ? normal(random) : std::round(normal(random));
    SamplingParams params;
    params.temperature = std::vector<float>{0.0f, 0.7f, 1.0f, 1.5f}[seed % 4];
    params.top_k = std::vector<int32_t>{0, 1, 50}[seed % 3];
    params.top_p = std::vector<float>{1.0f, 0.9f, 0.4f}[seed / 3 % 3];
    params.min_p = std::vector<float>{0.0f, 0.02f}[seed / 9 % 2];
    params.seed = seed;
    params.logprobs = 0;
    Sampler sampler(params, 0, {});
    for (uint64_t i = 0; i < seed % 3; ++i) sampler.accept(0);
    const SampledToken want = sampler.sample(logits, workspace);
    const kernels::SampleRow row{params.temperature, params.top_k, params.top_p,
                                 params.min_p,       seed,         seed % 3};
    int32_t id = -1;
    float logprob = 0;
    ASSERT_EQ(kernels::sample(logits.data(), 1, kVocab, &row, &id, &logprob, nullptr), cudaSuccess);
    ++draws;
    if (id != want.token) {
      ++different;
      continue;
    }
    EXPECT_NEAR(logprob, want.logprob, 2e-5);
  }
  // The CPU adds float32 weights, the device integers: a draw within rounding of an edge may differ.
  std::printf("  %d of %d tokens differ\n", different, draws);
  EXPECT_LE(different, 1);
}

}  // namespace
}  // namespace kraken
