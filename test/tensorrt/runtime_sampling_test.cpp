// What backend tensorrt leaves on its devices, and what it tells of them: tokens from shortlists are those of
// the CPU backend, and stats() have the exchanges of GPUs where a profile is wanted.
#include "runtime_harness.h"

namespace kraken::test {
namespace {

// A Kraken of 3 layers has 2 exchanges a step and the sum of its conjunction; nothing asks for a mass here.
TEST_F(OnTheHost, StatsHaveWhatRanksWaitForOnTheirDevices) {
  const RandomModel model(config_of("kraken4_biases"));
  for (const bool profile : {false, true}) {
    const ExecutorStats stats = on_tensorrt(*host, model, 2, true, test::ask, nullptr, profile).stats;
    ASSERT_EQ(stats.exposed_ms.size(), 2u);
    EXPECT_EQ(stats.exchanges, profile ? stats.steps * 3 : 0u);
    for (size_t rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(stats.collective_ms[rank] > 0, profile);
      EXPECT_LE(stats.hidden_ms[rank], stats.collective_ms[rank]);
      if (profile) {
        EXPECT_GT(stats.exposed_ms[rank], 0);
      }
    }
  }
}

// Every way to choose a token, side by side, so that a step has rows of both kinds.
std::vector<SamplingParams> samplings() {
  std::vector<SamplingParams> all(11);
  for (SamplingParams& params : all) params.max_tokens = kSampled;
  all[0].temperature = 0;
  all[1].temperature = 0.05f;
  all[2].temperature = 5.0f;
  all[3].top_k = 20;
  all[4].top_k = 90;
  all[4].top_p = 0.4f;
  all[5].temperature = 3.0f;
  all[5].top_p = 0.8f;
  all[6].min_p = 0.9f;
  all[7].temperature = 0.2f;
  all[7].min_p = 0.2f;
  all[8].top_k = 300;  // more than a shortlist has
  all[9].temperature = 0.05f;
  all[9].logprobs = 2;
  all[10].temperature = 0;
  all[10].presence_penalty = 0.5f;
  return all;
}

Answers ask_for_samples(Executor& executor, Log& log, int vocab) {
  std::vector<RequestId> ids;
  int32_t length = 5;
  for (const SamplingParams& params : samplings()) {
    Request request = plain(length += 3, params.max_tokens);
    for (size_t i = 0; i < request.prompt.size(); ++i)
      request.prompt[i] =
          static_cast<int32_t>((i * 37 + static_cast<size_t>(length)) % static_cast<size_t>(vocab));
    request.sampling = params;
    request.sampling.seed = static_cast<uint64_t>(length);
    request.samples = 2;
    ids.push_back(executor.enqueue(request));
  }
  Answers answers;
  for (const RequestId id : ids) {
    for (const int32_t sample : {0, 1}) {
      const Log::Sample got = log.wait(id, sample);
      EXPECT_EQ(got.last.error_message, "");
      answers.tokens.push_back(got.tokens);
    }
  }
  return answers;
}

class TensorRtSampling : public OnTheHost, public testing::WithParamInterface<Case> {};

TEST_P(TensorRtSampling, ChoosesWhatTheCpuChooses) {
  const auto& [name, ranks, captured] = GetParam();
  ModelConfig config = config_of(name);
  config.vocab = 601;  // more than fits a shortlist, and divided by no number of ranks
  const RandomModel model(config);
  const Answers want = on_the_cpu(model, ask_for_samples);
  Watch watch;
  const Answers got = on_tensorrt(*host, model, ranks, captured, ask_for_samples, &watch);
  EXPECT_EQ(got.tokens, want.tokens);
  // Of 11 ways 8 ask for shortlists, and two of these make rows too flat for them.
  const int all = 2 * 11 * kSampled;
  std::printf("  %-16s R=%d  %d of %d tokens asked for shortlists, %d of them also for logits\n",
              name.c_str(), ranks, watch.asked.load(), all, watch.fetched.load());
  EXPECT_GE(watch.asked, all * 8 / 11);
  EXPECT_GT(watch.fetched, 0);
  EXPECT_LT(watch.fetched, watch.asked / 2);
}

INSTANTIATE_TEST_SUITE_P(Models, TensorRtSampling,
                         testing::Values(Case{"kraken4_biases", 1, true}, Case{"kraken4_biases", 2, false},
                                         Case{"gpt_modern", 4, true}),
                         [](const auto& info) {
                           return info.param.model + "_" + std::to_string(info.param.ranks);
                         });

}  // namespace
}  // namespace kraken::test
