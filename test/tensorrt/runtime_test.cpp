// The whole way of a tensorrt engine on the host: weights are written, plans built of them, ranks loaded as
// the runtime loads them, and requests served by the executor; only the networks run in interpreters, with
// our plugins' own kernels. Against the same requests on the CPU backend.
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <thread>

#include "backend/tensorrt/build_plans.h"
#include "backend/tensorrt/rank_model.h"
#include "executor_harness.h"
#include "interpreted_tensorrt.h"
#include "models.h"
#include "random_model.h"
#include "weights/build.h"

namespace kraken::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int kContext = 160, kStepTokens = 48, kBatch = 4, kSampled = 6;

LocalExecutorConfig config_for(const ModelConfig& model, int block_tokens, int blocks) {
  LocalExecutorConfig config;
  config.vocab = model.vocab;
  config.kv_block_tokens = block_tokens;
  config.kv_blocks = blocks;
  config.max_batch_size = kBatch;
  config.max_sequence_length = kContext;
  config.max_step_tokens = kStepTokens;
  config.prefill_chunk = 20;
  config.max_rows = kBatch + kStepTokens;
  config.max_queue = 100;
  return config;
}

CompileOptions options_for(const LocalExecutorConfig& config) {
  CompileOptions options;
  options.max_tokens = config.max_step_tokens;
  options.max_sequences = config.max_batch_size;
  options.max_rows = config.max_rows;
  options.max_context = config.max_sequence_length;
  options.kv_blocks = config.kv_blocks;
  return options;
}

// What requests came to, in the order they were made; the last asks for the logits of every row.
struct Answers {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<float> logits;
  uint64_t preemptions = 0;
  ExecutorStats stats;
};

Answers ask(Executor& executor, Log& log, int vocab) {
  log.row_width = vocab;
  std::vector<Request> requests;
  for (const auto& [length, output] :
       std::vector<std::pair<int, int>>{{60, 12}, {62, 9}, {58, 12}, {61, 10}, {1, 10}, {70, 3}}) {
    Request request = plain(length, output);
    for (size_t i = 0; i < request.prompt.size(); ++i)
      request.prompt[i] =
          static_cast<int32_t>((i * 7 + static_cast<size_t>(length)) % static_cast<size_t>(vocab));
    requests.push_back(request);
  }
  requests.push_back(requests.front());
  requests.back().kind = Request::Kind::Logits;
  std::vector<RequestId> ids;
  for (const Request& request : requests) ids.push_back(executor.enqueue(request));
  Answers answers;
  for (const RequestId id : ids) {
    const Log::Sample sample = log.wait(id);
    EXPECT_EQ(sample.last.error_message, "");
    answers.tokens.push_back(sample.tokens);
    answers.logits.insert(answers.logits.end(), sample.values.begin(), sample.values.end());
  }
  answers.stats = executor.stats();
  answers.preemptions = answers.stats.preemptions;
  return answers;
}

using Ask = std::function<Answers(Executor&, Log&, int vocab)>;

Answers on_the_cpu(const RandomModel& model, const Ask& ask = test::ask) {
  const Graph graph = build_graph(model.config(), {0, 1, true});
  const LocalExecutorConfig config = config_for(model.config(), cpu_backend().kv_block_tokens(), 12);
  Log log;
  LocalExecutor executor(config, {[&](Communicator& communicator) {
                           return cpu_backend().compile(graph, model.rank_path(graph), communicator,
                                                        options_for(config));
                         }},
                         log.sink());
  return ask(executor, log, config.vocab);
}

class Directory {
 public:
  Directory() : path_(fs::temp_directory_path() / ("kraken-runtime-" + std::to_string(getpid()))) {
    fs::create_directories(path_);
  }
  ~Directory() { fs::remove_all(path_); }
  std::string path() const { return path_; }

 private:
  const fs::path path_;
};

// What the last rank does, as a test wants it or counts it.
struct Watch {
  std::atomic<bool> fails = false;          // instead of running a step, while the others are in it
  std::atomic<int> asked = 0, fetched = 0;  // rows whose shortlists, and then logits, were wanted
};

class WatchedModel final : public RankModel {
 public:
  WatchedModel(std::unique_ptr<RankModel> model, Watch& watch) : model_(std::move(model)), watch_(watch) {}
  void prepare() override { model_->prepare(); }
  void abort(int lost_rank) noexcept override { model_->abort(lost_rank); }
  void step(const StepBatch& batch, float* logits) override {
    if (watch_.fails) {
      std::this_thread::sleep_for(200ms);  // the others have come to their exchange
      throw Error("ERR_BACKEND_FAILED", "this rank broke down");
    }
    for (const ShortlistRequest& request : batch.shortlists) watch_.asked += request.count > 0 ? 1 : 0;
    model_->step(batch, logits);
  }
  bool offers_shortlists() const override { return model_->offers_shortlists(); }
  ShardShortlist shortlist(int32_t row) const override { return model_->shortlist(row); }
  void fetch_logits(std::span<const int32_t> rows, float* logits) override {
    watch_.fetched += static_cast<int>(rows.size());
    model_->fetch_logits(rows, logits);
  }
  void run_products(int tokens, float* logits) override { model_->run_products(tokens, logits); }
  void read_weights() override { model_->read_weights(); }
  RankMemory memory() const override { return model_->memory(); }
  std::map<std::string, double> take_profile() override { return model_->take_profile(); }

 private:
  const std::unique_ptr<RankModel> model_;
  Watch& watch_;
};

Answers on_tensorrt(HostTensorRt& host, const RandomModel& model, int ranks, bool captured,
                    const Ask& ask = test::ask, Watch* watch = nullptr, bool profile = false) {
  const InterpretedTensorRt tensorrt(host);
  const tensorrt::PluginsLibrary plugins = linked_plugins();
  LocalExecutorConfig config = config_for(model.config(), tensorrt::kBlockTokens, 3);
  config.profile = profile;
  const Directory directory;
  std::vector<Graph> graphs;
  for (int rank = 0; rank < ranks; ++rank) {
    graphs.push_back(build_graph(model.config(), {rank, ranks, true}));
    fs::copy_file(model.rank_path(graphs.back()),
                  directory.path() + "/rank" + std::to_string(rank) + ".weights");
  }
  PlanOptions plans;
  plans.directory = directory.path();
  plans.ranks = ranks;
  plans.dtype = DType::Float32;
  plans.max_tokens = config.max_step_tokens;
  plans.max_sequences = config.max_batch_size;
  plans.max_rows = config.max_rows;
  plans.max_context = config.max_sequence_length;
  CompileOptions options = options_for(config);
  options.dtype = DType::Float32;
  options.profile = profile;
  options.backend_config =
      build_plans_for(tensorrt, plugins, model.config(), plans, [](double) { return true; });
  std::vector<RankModelFactory> factories;
  for (int rank = 0; rank < ranks; ++rank) {
    factories.push_back([&, rank](Communicator& communicator) -> std::unique_ptr<RankModel> {
      auto made = std::make_unique<tensorrt::TensorRtModel>(
          tensorrt, plugins, graphs[static_cast<size_t>(rank)],
          directory.path() + "/rank" + std::to_string(rank) + ".engine", communicator, options,
          tensorrt::RankSettings{captured, ""});
      if (watch == nullptr || rank + 1 < ranks) return made;
      return std::make_unique<WatchedModel>(std::move(made), *watch);
    });
  }
  Log log;
  LocalExecutor executor(config, std::move(factories), log.sink());
  return ask(executor, log, config.vocab);
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

ModelConfig config_of(const std::string& name) {
  ModelConfig config;
  for (const Model& model : models()) {
    if (model.name == name) config = model.config;
  }
  config.max_positions = kContext;
  return config;
}

struct Case {
  std::string model;
  int ranks;
  bool captured;
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.model << " on " << c.ranks; }
};

class OnTheHost : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    host = HostTensorRt::get(why_not);
    if (host == nullptr) GTEST_SKIP() << why_not;
  }
  HostTensorRt* host = nullptr;
};
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
      EXPECT_GT(stats.exposed_ms[rank], 0);  // without profile the host's own waits
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
