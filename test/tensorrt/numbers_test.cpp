// The lowering in numbers: networks that TensorRT has built up, run on the host, against the CPU backend
// (which has the float64 reference to answer to). Every architecture and attribute, on 1, 2 and more ranks,
// through steps that fill and read the key/value cache.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "comm/local/local_group.h"
#include "host_ranks.h"
#include "models.h"
#include "script.h"

namespace kraken::test {
namespace {

constexpr int kMaxTokens = 32, kMaxSequences = 4, kMaxContext = 40, kBlockTokens = 4, kBlocks = 40;

class Reference {
 public:
  explicit Reference(const RandomModel& model)
      : graph_(build_graph(model.config(), {0, 1, true})), group_(make_local_group(1)) {
    CompileOptions options;
    options.max_tokens = kMaxTokens;
    options.max_sequences = options.max_rows = options.kv_blocks = kMaxSequences;
    options.max_context = kMaxContext;
    model_ = cpu_backend().compile(graph_, model.rank_path(graph_), *group_[0], options);
  }
  std::vector<float> step(const StepBatch& batch) const {
    std::vector<float> logits(batch.wanted_rows.size() * static_cast<size_t>(graph_.config.vocab));
    model_->step(batch, logits.data());
    return logits;
  }

 private:
  Graph graph_;
  std::vector<std::unique_ptr<Communicator>> group_;
  std::unique_ptr<RankModel> model_;
};

tensorrt::LoweringOptions lowering(DType dtype) {
  return {dtype, kMaxTokens, kMaxSequences, kMaxSequences, kMaxContext, kBlockTokens};
}

// ‖got − want‖ / ‖want‖, the worst of all steps.
double worst_error(HostTensorRt& tensorrt, const Model& model, const HostEngineOptions& options) {
  const RandomModel random(model.config), stored(model.config, options.lowering.dtype);
  const Reference reference(random);
  const HostEngine engine(tensorrt, stored, options);
  Batches wanted(model.config.vocab, cpu_backend().kv_block_tokens(), kMaxSequences),
      given(model.config.vocab, kBlockTokens, kBlocks);
  double worst = 0;
  for (const std::vector<Turn>& turns : mixed_script()) {
    const std::vector<float> want = reference.step(wanted.next(turns)), got = engine.step(given.next(turns));
    double error = 0, norm = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      error += std::pow(static_cast<double>(got[i]) - static_cast<double>(want[i]), 2);
      norm += std::pow(static_cast<double>(want[i]), 2);
    }
    const double relative = std::sqrt(error / norm);
    worst = std::isnan(relative) ? INFINITY : std::max(worst, relative);
  }
  return worst;
}

class LoweringNumbers : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    tensorrt_ = HostTensorRt::get(why_not);
    if (tensorrt_ == nullptr) GTEST_SKIP() << why_not;
  }
  void expect_close(const Model& model, DType dtype, int ranks, double tolerance,
                    const std::string& algorithms = "", bool communication = true) {
    const double error =
        worst_error(*tensorrt_, model, {ranks, lowering(dtype), kBlocks, algorithms, communication, {}});
    std::printf("  %-20s %-8s R=%d  %.2e (%3.0f %% of tolerance)\n", model.name.c_str(), name_of(dtype),
                ranks, error, 100 * error / tolerance);
    EXPECT_LE(error, tolerance) << model.name << " on " << ranks << " ranks";
  }
  HostTensorRt* tensorrt_ = nullptr;
};

class LoweringNumbersOf : public LoweringNumbers, public testing::WithParamInterface<Model> {};
INSTANTIATE_TEST_SUITE_P(Models, LoweringNumbersOf, testing::ValuesIn(models()),
                         [](const auto& info) { return info.param.name; });

TEST_P(LoweringNumbersOf, AreThoseOfTheCpuBackend) {
  for (const int ranks : GetParam().ranks) expect_close(GetParam(), DType::Float32, ranks, 1e-5);
}

// One rank has all ways, so what it adds up without exchanging anything is right.
TEST_F(LoweringNumbers, NeedNoCommunicationOnOneRank) {
  for (const Model& model : models()) {
    const bool exchanges = build_graph(model.config, {0, 1, true}).exchanges > 0;
    if (exchanges && model.ranks.size() > 2) expect_close(model, DType::Float32, 1, 1e-5, "", false);
  }
}

// Exchanges that a kernel of their own forms, instead of the join.
TEST_F(LoweringNumbers, DoNotDependOnHowSumsAreFormed) {
  const Model model = {"kraken4_biases", kraken_config(4), {}};
  for (const char* algorithm : {"one-shot", "two-shot"}) {
    expect_close(model, DType::Float32, 4, 1e-5, std::string("* * * ") + algorithm + " 2\n");
  }
}

TEST_F(LoweringNumbers, OfHalfPrecisionAreClose) {
  Model kraken = {"kraken2_modern", kraken_config(2), {}};
  modernise(kraken.config, false);
  const Model gpt = {"gpt", split_config(Architecture::Gpt), {}};
  for (const DType dtype : {DType::Float16, DType::BFloat16}) {
    expect_close(kraken, dtype, 2, 2e-2);
    expect_close(gpt, dtype, 1, 2e-2);
  }
}

}  // namespace
}  // namespace kraken::test
