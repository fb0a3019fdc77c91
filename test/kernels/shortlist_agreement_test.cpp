// What is chosen from ranks' shortlists is what the CPU's sampler chooses from the whole row: the same token
// for every seed, whatever the filters, however the vocabulary is dealt to ranks.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>

#include "base/error.h"
#include "check.h"
#include "runtime/sampler.h"
#include "shortlist.h"

namespace kraken {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A row's shards as the backend makes them: each rank's kernel on its columns.
class Shards {
 public:
  Shards(const std::vector<float>& logits, const ShortlistRequest& request, int ranks, std::mt19937& random) {
    std::vector<size_t> begins = {0};
    for (int rank = 1; rank < ranks; ++rank) begins.push_back(1 + random() % (logits.size() - 1));
    std::sort(begins.begin(), begins.end());
    begins.push_back(logits.size());
    std::vector<float> maxima(static_cast<size_t>(ranks), 0.0f), own(maxima.size());
    for (int rank = 0; rank < ranks; ++rank) {
      const auto [begin, columns] = columns_of(begins, rank);
      if (columns == 0)
        own.assign(own.size(), 0.0f), own[static_cast<size_t>(rank)] = -kInfinity;
      else
        EXPECT_EQ(kernels::row_maxima(&logits[begin], 1, columns, rank, ranks, own.data(), nullptr),
                  cudaSuccess);
      for (size_t i = 0; i < own.size(); ++i) maxima[i] += own[i];
    }
    const kernels::ShortlistRequest asked{request.count, request.needs_mass ? 1 : 0, request.scale};
    storage_.resize(static_cast<size_t>(ranks));
    for (int rank = 0; rank < ranks; ++rank) {
      const auto [begin, columns] = columns_of(begins, rank);
      if (columns == 0) {
        shards.push_back({{}, true, true, 0});
        continue;
      }
      kernels::ShortlistHead head;
      std::vector<char> out(static_cast<size_t>(kernels::shortlist_bytes(request.count)));
      EXPECT_EQ(kernels::shortlist(&logits[begin], 1, columns, &asked, maxima.data(), ranks, request.count,
                                   out.data(), nullptr),
                cudaSuccess);
      std::memcpy(&head, out.data(), sizeof head);
      std::vector<Candidate>& candidates = storage_[static_cast<size_t>(rank)];
      candidates.resize(static_cast<size_t>(head.count));
      const auto* place = reinterpret_cast<const kernels::Candidate*>(out.data() + sizeof head);
      for (size_t i = 0; i < candidates.size(); ++i) candidates[i] = {place[i].logit, place[i].column};
      for (Candidate& one : candidates) one.token += static_cast<int32_t>(begin);
      shards.push_back({candidates, head.is_whole != 0, head.has_numbers != 0, head.mass});
    }
  }

  std::vector<ShardShortlist> shards;

 private:
  static std::pair<size_t, int32_t> columns_of(const std::vector<size_t>& begins, int rank) {
    const auto index = static_cast<size_t>(rank);
    return {begins[index], static_cast<int32_t>(begins[index + 1] - begins[index])};
  }
  std::vector<std::vector<Candidate>> storage_;
};

enum Style { kPlain, kTies, kFlat, kPeaked, kImpossible, kNoNumber, kStyles };

std::vector<float> random_row(size_t vocab, int style, std::mt19937& random) {
  std::normal_distribution<float> normal(0, style == kFlat ? 0.3f : style == kPeaked ? 6.0f : 2.0f);
  std::vector<float> logits(vocab);
  for (float& logit : logits) logit = style == kTies ? std::round(normal(random)) : normal(random);
  if (style == kImpossible) {
    for (float& logit : logits) logit = random() % 5 == 0 ? logit : -kInfinity;
  }
  if (style == kNoNumber) logits[random() % vocab] = random() % 2 == 0 ? std::nanf("") : kInfinity;
  return logits;
}

struct Outcome {
  int32_t token = -1;
  std::string error = {};
  friend bool operator==(const Outcome&, const Outcome&) = default;
  friend void PrintTo(const Outcome& one, std::ostream* out) { *out << one.token << " " << one.error; }
};

Outcome whole_row(const Sampler& sampler, const std::vector<float>& logits, SamplerWorkspace& workspace) {
  try {
    return {sampler.sample(logits, workspace).token, ""};
  } catch (const Error& error) {
    return {-1, error.code()};
  }
}

TEST(KernelShortlist, ChoosesWhatTheWholeRowGives) {
  std::mt19937 random(11);
  constexpr int kRows = test::kIsSlow ? 24 : 300;
  int asked = 0, answered = 0;
  for (int i = 0; i < kRows; ++i) {
    const size_t vocab = std::vector<size_t>{2, 3, 61, 257, 1009, 5003}[random() % (test::kIsSlow ? 5 : 6)];
    SamplerWorkspace workspace(static_cast<int32_t>(vocab));
    const int style = i % kStyles;
    const std::vector<float> logits = random_row(vocab, style, random);
    SamplingParams params;
    params.temperature = std::vector<float>{0.0f, 0.3f, 0.7f, 1.0f, 1.6f}[random() % 5];
    params.top_k = std::vector<int32_t>{0, 0, 1, 7, 50, 128, 129, 4000}[random() % 8];
    params.top_p = std::vector<float>{1.0f, 1.0f, 0.95f, 0.5f, 1e-6f}[random() % 5];
    params.min_p = std::vector<float>{0.0f, 0.0f, 0.02f, 1e-4f, 1.0f}[random() % 5];
    params.seed = random();
    Sampler sampler(params, 0, {});
    for (unsigned token = random() % 3; token > 0; --token) sampler.accept(0);
    const auto request = sampler.shortlist_request(static_cast<int32_t>(vocab));
    if (!request) {
      EXPECT_TRUE(params.top_k > kMaxShortlist && static_cast<size_t>(params.top_k) < vocab);
      continue;
    }
    const Outcome want = whole_row(sampler, logits, workspace);
    for (int ranks = 1; ranks <= 4; ++ranks) {
      const Shards dealt(logits, *request, ranks, random);
      ++asked;
      const auto got = sampler.choose(dealt.shards, static_cast<int32_t>(vocab), workspace);
      if (!got) continue;  // then the row is fetched
      ++answered;
      ASSERT_EQ(Outcome{*got}, want) << "row " << i << ", " << ranks << " ranks, V=" << vocab
                                     << " T=" << params.temperature << " top_k " << params.top_k << " top_p "
                                     << params.top_p << " min_p " << params.min_p;
    }
    if (style == kNoNumber || vocab <= 257 || params.top_k == 0) continue;
    // A top-k that fits is always answered.
    const Shards dealt(logits, *request, 4, random);
    EXPECT_TRUE(static_cast<size_t>(params.top_k) >= vocab ||
                sampler.choose(dealt.shards, static_cast<int32_t>(vocab), workspace).has_value());
  }
  std::printf("  %d of %d rows answered without their logits\n", answered, asked);
  EXPECT_GT(answered, asked / 2);
}

TEST(KernelShortlist, IsNotAskedWhereTheRowIsNeeded) {
  const auto asks = [](const SamplingParams& params) {
    return Sampler(params, 0, std::vector<int32_t>{1, 2}).shortlist_request(1000).has_value();
  };
  EXPECT_TRUE(asks({}));
  SamplingParams params;
  params.logprobs = 0;
  EXPECT_FALSE(asks(params));
  params = {};
  params.logit_bias = {{3, 1.0f}};
  EXPECT_FALSE(asks(params));
  params = {};
  params.repetition_penalty = 1.2f;
  EXPECT_FALSE(asks(params));
  params = {};
  params.presence_penalty = 0.5f;
  EXPECT_FALSE(asks(params));
  params = {};
  params.top_k = kMaxShortlist + 1;
  EXPECT_FALSE(asks(params));
  params = {};
  params.stop_tokens = {7};
  EXPECT_TRUE(asks(params));
  params.min_tokens = 1;
  EXPECT_FALSE(asks(params));
  Sampler sampler(params, 0, {});
  sampler.accept(0);
  EXPECT_TRUE(sampler.shortlist_request(1000).has_value());
}

}  // namespace
}  // namespace kraken
