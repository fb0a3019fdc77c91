#include "runtime/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "base/error.h"
#include "runtime/candidates.h"
#include "runtime/philox.h"
#include "runtime/vector_math.h"

namespace kraken {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

std::vector<float> random_logits(size_t count, unsigned seed, float spread = 3.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// softmax(logits / temperature) in float64.
std::vector<double> softmax(const std::vector<float>& logits, double temperature = 1) {
  const float max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  for (float logit : logits)
    p.push_back(std::exp((static_cast<double>(logit) - static_cast<double>(max)) / temperature));
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= total;
  return p;
}

int32_t sample_once(const SamplingParams& params, const std::vector<float>& logits) {
  SamplerWorkspace workspace(static_cast<int32_t>(logits.size()));
  return Sampler(params, 0, {}).sample(logits, workspace).token;
}

// Draws many times and compares the frequencies with `expected` (zero: must never come) by a chi-square test.
void expect_distribution(SamplingParams params, const std::vector<float>& logits,
                         std::vector<double> expected) {
  const double total = std::accumulate(expected.begin(), expected.end(), 0.0);
  SamplerWorkspace workspace(static_cast<int32_t>(logits.size()));
  constexpr int kDraws = 40000;
  std::vector<int> counts(logits.size(), 0);
  for (int i = 0; i < kDraws; ++i) {
    params.seed = static_cast<uint64_t>(i) * 7919;
    ++counts[static_cast<size_t>(Sampler(params, 0, {}).sample(logits, workspace).token)];
  }
  double chi_square = 0;
  int categories = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double mean = expected[i] / total * kDraws;
    if (expected[i] <= 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    chi_square += (counts[i] - mean) * (counts[i] - mean) / mean;
    ++categories;
  }
  // Mean k, variance 2k: six standard deviations; the seeds are fixed, so this either always passes or never.
  const double freedom = std::max(1, categories - 1);
  EXPECT_LT(chi_square, freedom + 6 * std::sqrt(2 * freedom)) << categories << " categories";
}

TEST(VectorMath, ExpIsAccurate) {
  double worst = 0;
  for (float x = -86.9f; x <= 0; x += 0.00137f) {
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(exp_of_negative(x)) - exact) / exact);
  }
  std::printf("largest relative error of exp: %.3g (allowed 2e-7)\n", worst);
  EXPECT_LT(worst, 2e-7);
  EXPECT_EQ(exp_of_negative(0), 1.0f);
  EXPECT_EQ(exp_of_negative(-100), 0.0f);
  EXPECT_EQ(exp_of_negative(-kInfinity), 0.0f);
  EXPECT_TRUE(std::isnan(exp_of_negative(std::nanf(""))));
}

TEST(VectorMath, ArgmaxTakesTheLowestIndexOnTies) {
  for (size_t size : {1u, 5u, 16u, 17u, 1024u, 1025u, 5000u}) {
    std::vector<float> x = random_logits(size, static_cast<unsigned>(size));
    for (float& value : x) value = std::round(value);  // many ties
    const auto expected = std::max_element(x.begin(), x.end()) - x.begin();
    EXPECT_EQ(argmax(x), expected);
  }
  EXPECT_EQ(argmax(std::vector<float>{-kInfinity, -kInfinity}), -1);
  EXPECT_EQ(argmax(std::vector<float>{std::nanf(""), 2, 1}), 1);
}

TEST(VectorMath, LogSumExp) {
  for (size_t size : {1u, 3u, 100u, 50257u}) {
    const std::vector<float> x = random_logits(size, 4, 10);
    double exact = 0;
    for (float value : x) exact += std::exp(static_cast<double>(value));
    EXPECT_NEAR(log_sum_exp(x), std::log(exact), 1e-6);
  }
  EXPECT_NEAR(log_sum_exp(std::vector<float>{1000, 1000}), 1000 + std::log(2.0), 1e-9);
  EXPECT_TRUE(std::isnan(log_sum_exp(std::vector<float>{1, kInfinity})));
  EXPECT_TRUE(std::isnan(log_sum_exp(std::vector<float>{1, std::nanf("")})));
}

TEST(Philox, KnownAnswers) {  // Random123's kat_vectors
  using Four = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Candidates, SelectLargestAgreesWithSorting) {
  for (size_t size : {1u, 10u, 1000u, 20000u}) {
    for (bool ties : {false, true}) {
      std::vector<float> x = random_logits(size, static_cast<unsigned>(size) + 1);
      if (ties) {
        for (float& value : x) value = std::round(value);
      }
      SamplerWorkspace workspace(static_cast<int32_t>(size));
      for (int32_t count : {1, 2, 7, 50, 999, 5000, 1 << 30}) {
        for (float floor : {-kInfinity, 0.0f, 2.0f}) {
          std::vector<int32_t> order(size);
          std::iota(order.begin(), order.end(), 0);
          std::erase_if(order, [&](int32_t i) { return x[static_cast<size_t>(i)] < floor; });
          std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
            return x[static_cast<size_t>(a)] > x[static_cast<size_t>(b)];
          });
          order.resize(std::min(order.size(), static_cast<size_t>(count)));
          std::sort(order.begin(), order.end());
          select_largest(x, count, floor, workspace);
          ASSERT_EQ(workspace.ids, order) << size << " " << count << " " << floor << " " << ties;
        }
      }
    }
  }
}

TEST(Candidates, LikeliestFirstAgreesWithSorting) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    std::vector<float> logits = random_logits(1 + seed * 97, seed, 0.1f + static_cast<float>(seed % 5));
    if (seed % 3 == 0) {
      for (float& logit : logits) logit = std::round(logit);
    }
    if (seed % 4 == 1) logits[logits.size() / 2] = -kInfinity;
    const float max = max_of(logits), scale = 0.7f;
    std::vector<float> weights(logits.size());
    exp_shifted(logits, max, scale, weights.data());
    std::vector<size_t> order(logits.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    SamplerWorkspace workspace(static_cast<int32_t>(logits.size()));
    LikeliestFirst row(logits, weights, max, scale, workspace);
    uint64_t mass = 0;
    for (size_t i : order) {
      const uint64_t units = units_of(weights[i]);
      if (units == 0) continue;
      for (const uint64_t wanted : {mass + 1, mass + units}) {
        ASSERT_EQ(row.reach(wanted).position, i) << "seed " << seed;
        ASSERT_EQ(row.reach(wanted).mass, mass + units);
      }
      mass += units;
    }
    EXPECT_EQ(row.mass(), mass);
    EXPECT_EQ(mass_of(weights), mass);
  }
}

TEST(Candidates, WeightsAreWholeUnits) {
  EXPECT_EQ(units_of(0.0f), 0u);
  EXPECT_EQ(units_of(1.0f), uint64_t{1} << 40);
  EXPECT_EQ(units_of(0x1p-40f), 1u);
  EXPECT_EQ(units_of(0x1p-41f), 0u);    // to even
  EXPECT_EQ(units_of(0x1.8p-40f), 2u);  // to even
  EXPECT_EQ(units_of(0x1.8p-41f), 1u);
  EXPECT_FALSE(mass_of(std::vector<float>{1.0f, std::nanf("")}));
}

TEST(Sampler, GreedyTakesTheLowestIdOnTies) {
  EXPECT_EQ(sample_once(greedy(), {1, 3, 2, 3}), 1);
  SamplingParams tiny;
  tiny.temperature = 1e-6f;
  EXPECT_EQ(sample_once(tiny, {1, 3, 2, 3}), 1);
}

TEST(Sampler, TemperatureAndUnfilteredDistribution) {
  const std::vector<float> logits = random_logits(300, 5, 1.5f);
  SamplingParams params;
  expect_distribution(params, logits, softmax(logits));
  params.temperature = 0.5f;
  expect_distribution(params, logits, softmax(logits, 0.5));
  params.temperature = 3.0f;
  expect_distribution(params, logits, softmax(logits, 3.0));
}

TEST(Sampler, LargeVocabularyIsDrawnEvenly) {  // over several blocks
  const std::vector<float> logits(5000, 0.25f);
  SamplingParams params;
  expect_distribution(params, logits, std::vector<double>(5000, 1.0));
}

// Probabilities .4 .3 .15 .1 .05
const std::vector<float> kFive = {std::log(0.15f), std::log(0.4f), std::log(0.05f), std::log(0.3f),
                                  std::log(0.1f)};

TEST(Sampler, TopK) {
  SamplingParams params;
  params.top_k = 2;
  expect_distribution(params, kFive, {0, 0.4, 0, 0.3, 0});
  params.top_k = 1;
  EXPECT_EQ(sample_once(params, {2, 5, 5}), 1);  // exactly one, the lowest id
  params.top_k = 100;
  expect_distribution(params, kFive, {0.15, 0.4, 0.05, 0.3, 0.1});
}

TEST(Sampler, TopPKeepsTheTokenThatReachesIt) {
  SamplingParams params;
  params.top_p = 0.65f;
  expect_distribution(params, kFive, {0, 0.4, 0, 0.3, 0});
  params.top_p = 0.75f;
  expect_distribution(params, kFive, {0.15, 0.4, 0, 0.3, 0});
  params.top_p = 0.01f;
  expect_distribution(params, kFive, {0, 1, 0, 0, 0});
}

TEST(Sampler, MinPIsRelativeToTheLikeliest) {
  SamplingParams params;
  params.min_p = 0.3f;  // below 0.12
  expect_distribution(params, kFive, {0.15, 0.4, 0, 0.3, 0});
  params.min_p = 1.0f;
  expect_distribution(params, kFive, {0, 1, 0, 0, 0});
}

TEST(Sampler, FiltersApplyInOrderMinPTopKTopP) {
  SamplingParams params;
  params.top_k = 3;     // .4 .3 .15, of .85
  params.top_p = 0.8f;  // .4 .3 = 0.824 of what top-k left; alone it would take .15 too
  expect_distribution(params, kFive, {0, 0.4, 0, 0.3, 0});
  params.min_p = 0.9f;
  expect_distribution(params, kFive, {0, 1, 0, 0, 0});
  SamplingParams hot;  // temperature comes before min_p: sqrt(.1/.4) = 0.5
  hot.temperature = 2.0f;
  hot.min_p = 0.49f;
  expect_distribution(hot, kFive, {std::sqrt(0.15), std::sqrt(0.4), 0, std::sqrt(0.3), std::sqrt(0.1)});
}

TEST(Sampler, LogitBiasAndImpossibleTokens) {
  SamplingParams params = greedy();
  params.logit_bias = {{2, 100.0f}};
  EXPECT_EQ(sample_once(params, kFive), 2);
  SamplingParams ban;
  ban.logit_bias = {{1, -kInfinity}};
  expect_distribution(ban, kFive, {0.15, 0, 0.05, 0.3, 0.1});
}

TEST(Sampler, RepetitionPenaltyOverPromptAndOutput) {
  SamplingParams params = greedy();
  params.repetition_penalty = 2.0f;
  const std::vector<int32_t> prompt = {0, 0, 3};
  const std::vector<float> logits = {3.0f, 1.4f, 1.0f, -1.0f};
  SamplerWorkspace workspace(4);
  Sampler sampler(params, 0, prompt);
  EXPECT_EQ(sampler.sample(logits, workspace).token, 0);  // 3 / 2 = 1.5 > 1.4, once however often it occurs
  const std::vector<float> negative = {-1.5f, -9.0f, -1.9f, -1.0f};
  EXPECT_EQ(sampler.sample(negative, workspace).token, 2);  // −1.0 · 2 and −1.5 · 2 are below −1.9
  sampler.accept(2);
  EXPECT_EQ(sampler.sample(negative, workspace).token, 3);  // −3, −9, −3.8, −2
}

TEST(Sampler, PresenceAndFrequencyOverOutputOnly) {
  SamplingParams params = greedy();
  params.presence_penalty = 1.0f;
  params.frequency_penalty = 0.5f;
  const std::vector<int32_t> prompt = {0, 0, 0};
  const std::vector<float> logits = {3.0f, 1.2f};
  SamplerWorkspace workspace(2);
  Sampler sampler(params, 0, prompt);
  EXPECT_EQ(sampler.sample(logits, workspace).token, 0);
  sampler.accept(0);  // 3 − 1.5
  EXPECT_EQ(sampler.sample(logits, workspace).token, 0);
  sampler.accept(0);  // 3 − 2
  EXPECT_EQ(sampler.sample(logits, workspace).token, 1);
}

TEST(Sampler, StopTokensAreImpossibleBeforeMinTokens) {
  SamplingParams params = greedy();
  params.min_tokens = 2;
  params.stop_tokens = {1};
  params.logit_bias = {{1, 50.0f}};
  SamplerWorkspace workspace(3);
  Sampler sampler(params, 0, {});
  const std::vector<float> logits = {1.0f, 5.0f, 2.0f};
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(sampler.sample(logits, workspace).token, 2);
    sampler.accept(2);
  }
  EXPECT_EQ(sampler.sample(logits, workspace).token, 1);
  EXPECT_TRUE(sampler.is_stop_token(1));
  EXPECT_FALSE(sampler.is_stop_token(2));
}

TEST(Sampler, LogprobsAreTheModelsOwn) {
  SamplingParams params = greedy();
  params.logprobs = 3;
  params.logit_bias = {{2, 100.0f}};
  params.temperature = 0.1f;
  SamplerWorkspace workspace(5);
  const SampledToken sampled = Sampler(params, 0, {}).sample(kFive, workspace);
  EXPECT_EQ(sampled.token, 2);
  EXPECT_NEAR(sampled.logprob, std::log(0.05), 1e-6);
  ASSERT_EQ(sampled.alternatives.size(), 3u);
  const int32_t order[] = {1, 3, 0};
  const double p[] = {0.4, 0.3, 0.15};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(sampled.alternatives[i].token, order[i]);
    EXPECT_NEAR(sampled.alternatives[i].logprob, std::log(p[i]), 1e-6);
  }
  params.logprobs = 0;
  EXPECT_TRUE(Sampler(params, 0, {}).sample(kFive, workspace).alternatives.empty());
  params.logprobs = -1;
  EXPECT_TRUE(std::isnan(Sampler(params, 0, {}).sample(kFive, workspace).logprob));
  EXPECT_NEAR(token_logprob(kFive, 3), std::log(0.3), 1e-6);
}

TEST(Sampler, AlternativesWithTiesAreInOrderOfId) {
  SamplingParams params = greedy();
  params.logprobs = 3;
  SamplerWorkspace workspace(5);
  const std::vector<float> logits = {1, 2, 1, 2, 1};
  const auto alternatives = Sampler(params, 0, {}).sample(logits, workspace).alternatives;
  ASSERT_EQ(alternatives.size(), 3u);
  EXPECT_EQ(alternatives[0].token, 1);
  EXPECT_EQ(alternatives[1].token, 3);
  EXPECT_EQ(alternatives[2].token, 0);
}

TEST(Sampler, TheDrawDependsOnSeedAndPositionOnly) {
  const std::vector<float> logits = random_logits(1000, 9, 1);
  SamplingParams params;
  params.seed = 41;
  SamplerWorkspace workspace(1000), other(1000);
  Sampler a(params, 1, {}), b(params, 1, std::vector<int32_t>{1, 2, 3});
  params.seed = 42;
  Sampler c(params, 0, {});  // seed + sample is the same
  std::set<int32_t> tokens;
  for (int i = 0; i < 50; ++i) {
    const int32_t token = a.sample(logits, workspace).token;
    EXPECT_EQ(token, a.sample(logits, other).token);  // asking again changes nothing
    EXPECT_EQ(token, b.sample(logits, workspace).token);
    EXPECT_EQ(token, c.sample(logits, workspace).token);
    tokens.insert(token);
    for (Sampler* sampler : {&a, &b, &c}) sampler->accept(token);
  }
  EXPECT_GT(tokens.size(), 30u);
}

TEST(Sampler, LogitsThatAreNoNumbersAreRefused) {
  const float nan = std::nanf("");
  for (float temperature : {0.0f, 1.0f}) {
    SamplingParams params;
    params.temperature = temperature;
    EXPECT_THROW(sample_once(params, {nan, nan}), Error);
    EXPECT_THROW(sample_once(params, {1, kInfinity}), Error);
  }
  SamplingParams params;
  EXPECT_THROW(sample_once(params, {1, nan, 2}), Error);
  params.logprobs = 0;
  params.temperature = 0;
  EXPECT_THROW(sample_once(params, {1, nan, 2}), Error);
  EXPECT_THROW(token_logprob(std::vector<float>{nan, 1}, 1), Error);
}

// Not a check of speed, which a busy machine would make fail: prints what one token costs at GPT-2's
// vocabulary.
TEST(Sampler, CostOfOneToken) {
  const std::vector<float> logits = random_logits(50257, 11);
  SamplerWorkspace workspace(50257);
  std::vector<std::pair<const char*, SamplingParams>> cases;
  cases.emplace_back("greedy", greedy());
  cases.emplace_back("greedy, 5 logprobs", greedy()).second.logprobs = 5;
  cases.emplace_back("temperature", SamplingParams{});
  cases.emplace_back("top-k 50", SamplingParams{}).second.top_k = 50;
  cases.emplace_back("top-p 0.95", SamplingParams{}).second.top_p = 0.95f;
  cases.emplace_back("top-k 50, top-p 0.95", SamplingParams{}).second.top_p = 0.95f;
  cases.back().second.top_k = 50;
  cases.emplace_back("min-p 0.05", SamplingParams{}).second.min_p = 0.05f;
  cases.emplace_back("presence penalty", greedy()).second.presence_penalty = 0.5f;
  for (auto& [name, params] : cases) {
    const Sampler sampler(params, 0, {});
    double best = 1e9;
    for (int i = 0; i < 20; ++i) {
      const auto from = std::chrono::steady_clock::now();
      sampler.sample(logits, workspace);
      best = std::min(
          best, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - from).count());
    }
    std::printf("  %-22s %7.1f us\n", name, best);
  }
}

}  // namespace
}  // namespace kraken
