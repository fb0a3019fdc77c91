// The whole way of a tensorrt engine on the host: weights are written, plans built of them, ranks loaded as
// the runtime loads them, and requests served by the executor; only the networks run in interpreters, with
// our plugins' own kernels. Against the same requests on the CPU backend.
#include "runtime_harness.h"

namespace kraken::test {
namespace {

// What is counted on before the cache is made, for which plugins pad rows of odd head dimensions.
TEST(TensorRtKvCache, TakesAsMuchAsIsCountedOn) {
  for (const auto& [dtype, element] : {std::pair{DType::Float32, KRAKEN_FLOAT32},
                                       {DType::Float16, KRAKEN_FLOAT16},
                                       {DType::BFloat16, KRAKEN_BFLOAT16}}) {
    for (const int head_dim : {1, 64, 113, 209, 256}) {
      const tensorrt::KvCacheShape shape{dtype, 3, 10, head_dim, tensorrt::kBlockTokens, 7};
      const kraken_kv_cache_options options = {static_cast<int32_t>(sizeof(kraken_kv_cache_options)),
                                               element,
                                               shape.layers,
                                               shape.heads,
                                               shape.head_dim,
                                               shape.block_tokens,
                                               shape.blocks};
      EXPECT_EQ(static_cast<int64_t>(shape.block_bytes()) * shape.blocks, kraken_kv_cache_bytes(&options))
          << name_of(dtype) << " " << head_dim;
    }
  }
}

double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size() || want.empty()) return INFINITY;
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += std::pow(static_cast<double>(got[i]) - static_cast<double>(want[i]), 2);
    norm += std::pow(static_cast<double>(want[i]), 2);
  }
  return std::isnan(error) ? INFINITY : std::sqrt(error / norm);
}

class TensorRtRuntime : public OnTheHost, public testing::WithParamInterface<Case> {};
class TensorRtFailure : public OnTheHost, public testing::WithParamInterface<int> {};

// Prompts in chunks, beside sequences that decode, in a cache too small for all of them.
TEST_P(TensorRtRuntime, ServesWhatTheCpuServes) {
  const auto& [name, ranks, captured] = GetParam();
  const RandomModel model(config_of(name));
  const Answers want = on_the_cpu(model), got = on_tensorrt(*host, model, ranks, captured);
  EXPECT_EQ(got.tokens, want.tokens);
  const double error = relative_error(got.logits, want.logits), tolerance = 1e-5;
  std::printf("  %-16s R=%d %s  %.2e (%3.0f %% of tolerance), %d preemptions\n", name.c_str(), ranks,
              captured ? "captured" : "enqueued", error, 100 * error / tolerance,
              static_cast<int>(got.preemptions));
  EXPECT_LE(error, tolerance);
  EXPECT_GT(got.preemptions, 0u);
}

// Weights, activations, exchanges, keys and values.
TEST_F(OnTheHost, ServesEnginesOfFloat16) {
  const ModelConfig config = config_of("kraken4_modern");
  const Answers want = on_the_cpu(RandomModel(config)),
                got = on_tensorrt(*host, RandomModel(config, DType::Float16), 2, true);
  const double error = relative_error(got.logits, want.logits), tolerance = 2e-2;
  std::printf("  kraken4_modern   R=2 float16   %.2e (%3.0f %% of tolerance), %d preemptions\n", error,
              100 * error / tolerance, static_cast<int>(got.preemptions));
  EXPECT_LE(error, tolerance);
  EXPECT_GT(error, 1e-5);  // or it was not in float16
  EXPECT_GT(got.preemptions, 0u);
}

INSTANTIATE_TEST_SUITE_P(OfTheLastOf, TensorRtFailure, testing::Values(2, 4),
                         testing::PrintToStringParamName());

// Long before an exchange gives up a rank, after 10 s.
TEST_P(TensorRtFailure, EndsTheOtherRanksAtOnce) {
  const RandomModel model(config_of("kraken4_biases"));
  Watch watch;
  std::chrono::steady_clock::duration took{};
  on_tensorrt(
      *host, model, GetParam(), true,
      [&](Executor& executor, Log& log, int) {
        EXPECT_EQ(log.wait(executor.enqueue(plain(10, 2))).last.error_message, "");
        watch.fails = true;
        const auto from = std::chrono::steady_clock::now();
        const Log::Sample sample = log.wait(executor.enqueue(plain(10, 2)));
        took = std::chrono::steady_clock::now() - from;
        EXPECT_EQ(sample.last.error_code, "ERR_BACKEND_FAILED");
        EXPECT_EQ(sample.last.error_message, "this rank broke down");
        return Answers{};
      },
      &watch);
  EXPECT_LT(took, 5s);
}

INSTANTIATE_TEST_SUITE_P(Models, TensorRtRuntime,
                         testing::Values(Case{"kraken4_biases", 1, true}, Case{"kraken4_biases", 2, true},
                                         Case{"kraken4_biases", 4, true}, Case{"kraken4_modern", 2, false},
                                         Case{"gpt_modern", 2, true}, Case{"parallel_erf", 4, true},
                                         Case{"ladder", 2, true}),
                         [](const auto& info) {
                           return info.param.model + "_" + std::to_string(info.param.ranks) +
                                  (info.param.captured ? "_captured" : "_enqueued");
                         });

}  // namespace
}  // namespace kraken::test
