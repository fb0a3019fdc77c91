// The TensorRT backend's ranks over a stand-in for GPUs: whatever is asked of the executor, in whatever
// batches, comes out as it would alone; and what can be wrong is told by its code.
#include <filesystem>
#include <fstream>
#include <numeric>

#include "backend/tensorrt/rank_model.h"
#include "executor_harness.h"
#include "fake_gpu.h"
#include "model_configs.h"

namespace kraken::tensorrt {
namespace {

using namespace std::chrono_literals;
using test::alone, test::plain;

// An engine directory of fake plans, and an executor over them.
class TensorRtModelTest : public testing::Test {
 protected:
  TensorRtModelTest()
      : directory_(std::filesystem::temp_directory_path() / ("kraken-plans-" + std::to_string(getpid()))) {
    fake::controls = &controls;
    std::filesystem::create_directories(directory_);
    config = test::small_config();
    config.kv_block_tokens = kBlockTokens;
    config.kv_blocks = 40;
    config.profile = true;
  }
  ~TensorRtModelTest() override {
    executor.reset();
    EXPECT_EQ(controls.contexts, 0);
    EXPECT_EQ(controls.live_bytes, 0);
    EXPECT_EQ(controls.live_objects, 0);
    std::filesystem::remove_all(directory_);
  }

  EngineFacts facts(int ranks) const {
    EngineFacts facts;
    facts.tensorrt = "10.15.1";
    facts.gpu = "Fake GPU";
    facts.compute_capability = 90;
    facts.plugins = "0.1.0";
    facts.block_tokens = kBlockTokens;
    facts.limits = {config.max_step_tokens, config.max_batch_size, config.max_rows,
                    config.max_sequence_length};
    facts.plugin_layers.assign(static_cast<size_t>(ranks), 5);
    return facts;
  }

  void write_plan(int rank, const std::string& text) const { std::ofstream(plan_path(rank)) << text; }
  std::string plan_path(int rank) const { return directory_ / ("rank" + std::to_string(rank) + ".engine"); }

  void start(int ranks, EngineFacts built) {
    ModelConfig model = test::small_config(Architecture::Kraken);
    model.vocab = fake::kVocab;
    CompileOptions options;
    options.max_tokens = config.max_step_tokens;
    options.max_sequences = config.max_batch_size;
    options.max_rows = config.max_rows;
    options.max_context = config.max_sequence_length;
    options.kv_blocks = config.kv_blocks;
    options.dtype = DType::BFloat16;
    options.ranks_per_device = ranks_per_device;
    options.backend_config = to_json(built);
    options.profile = true;
    graphs_.clear();
    std::vector<RankModelFactory> factories;
    for (int rank = 0; rank < ranks; ++rank) {
      if (!std::filesystem::exists(plan_path(rank))) write_plan(rank, fake::plan_text(rank, ranks));
      graphs_.push_back(std::make_unique<Graph>(build_graph(model, {rank, ranks, true})));
      factories.push_back([this, rank, options, &graph = *graphs_.back()](Communicator& communicator) {
        return std::make_unique<TensorRtModel>(tensorrt_, plugins_, graph, plan_path(rank), communicator,
                                               options, RankSettings{capture, ""});
      });
    }
    executor = std::make_unique<LocalExecutor>(config, std::move(factories), log.sink());
  }
  void start(int ranks) { start(ranks, facts(ranks)); }

  void expect_refused(const std::string& code, const std::string& words, const std::function<void()>& call) {
    try {
      call();
      ADD_FAILURE() << "nothing was refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }

  fake::GpuControls controls;
  LocalExecutorConfig config;
  int ranks_per_device = 1;
  bool capture = true;
  test::Log log;
  std::unique_ptr<Executor> executor;

 private:
  const std::filesystem::path directory_;
  const fake::FakeTensorRt tensorrt_;
  const PluginsLibrary plugins_ = fake::plugins();
  std::vector<std::unique_ptr<Graph>> graphs_;
};

class TensorRtRequests : public TensorRtModelTest,
                         public testing::WithParamInterface<std::tuple<int, bool>> {};

// Prompts in chunks beside decoding sequences, of all batch sizes, with too little cache for all of them.
TEST_P(TensorRtRequests, GiveWhatTheyGiveAlone) {
  const auto [ranks, captures] = GetParam();
  capture = captures;
  config.kv_blocks = 4;  // a sequence may grow to three: some are set back
  start(ranks);
  std::mt19937 random(7);
  std::vector<std::pair<RequestId, Request>> asked;
  for (int i = 0; i < 60; ++i) {
    // Every third outgrows its first block while others do.
    const Request request = i % 3 == 0 ? plain(50 + i % 10, 40) : test::random_request(random, 120);
    asked.emplace_back(executor->enqueue(request), request);
  }
  for (const auto& [id, request] : asked) {
    EXPECT_EQ(log.wait(id).tokens, alone(request, 0, ranks)) << "request " << id;
  }
  const ExecutorStats stats = executor->stats();
  EXPECT_GT(stats.preemptions, 0u);
  EXPECT_EQ(controls.captured, captures ? ranks * static_cast<int>(decode_buckets(8).size()) : 0);
  EXPECT_EQ(controls.launched > 0, captures);
}

TEST_P(TensorRtRequests, ScoreAndLogitsCoverEveryRow) {
  const auto [ranks, captures] = GetParam();
  capture = captures;
  start(ranks);
  log.row_width = fake::kVocab;
  Request request = plain(150);
  request.kind = Request::Kind::Logits;
  const test::Log::Sample sample = log.wait(executor->enqueue(request));
  ASSERT_EQ(sample.values.size(), request.prompt.size() * fake::kVocab);
  for (size_t row = 0; row < request.prompt.size(); ++row) {
    const std::vector<float> expected = fake::logits_after(std::span(request.prompt).first(row + 1), ranks);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(),
                           sample.values.begin() + static_cast<ptrdiff_t>(row * fake::kVocab)))
        << row;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, TensorRtRequests, testing::Combine(testing::Values(1, 2, 4), testing::Bool()),
                         [](const auto& info) {
                           return std::to_string(std::get<0>(info.param)) +
                                  (std::get<1>(info.param) ? "Captured" : "Enqueued");
                         });

TEST_F(TensorRtModelTest, DecodeStepsAreReplayedAndPromptsEnqueued) {
  start(1);
  const int before = controls.enqueued;
  log.wait(executor->enqueue(plain(5, 11)));
  EXPECT_EQ(controls.enqueued - before, 1);
  EXPECT_EQ(controls.launched, 10);
  const auto times = executor->stats().profile_ms;
  ASSERT_EQ(times.size(), 1u);
  EXPECT_TRUE(times.front().contains("step") && times.front().contains("captured step"));
}

TEST_F(TensorRtModelTest, TellsWhatItHolds) {
  start(2);
  const ExecutorStats stats = executor->stats();
  // Blocks of 64 tokens, 3 layers, keys and values of 2 ways of 12 heads of 3, padded to 16 bytes; one to
  // scratch.
  EXPECT_EQ(stats.kv_bytes, 2u * 41 * 64 * 3 * 2 * 2 * 12 * 16);
  EXPECT_EQ(stats.weight_bytes, 2 * fake::plan_text(0, 2).size());
  EXPECT_GT(stats.activation_bytes, 2 * controls.activation_bytes);
}

TEST_F(TensorRtModelTest, ALostRankFailsWhatIsPending) {
  start(4);
  EXPECT_EQ(log.wait(executor->enqueue(plain())).last.finish, FinishReason::Length);
  controls.lose_rank = 2;
  const test::Log::Sample sample = log.wait(executor->enqueue(plain()));
  EXPECT_EQ(sample.last.error_code, "ERR_RANK_LOST");
  EXPECT_NE(sample.last.error_message.find("did not come to a collective"), std::string::npos);
  EXPECT_EQ(test::code_of([&] { executor->enqueue(plain()); }), "ERR_RANK_LOST");
}

// The others are in an exchange on their devices then, which would wait for a minute.
TEST_F(TensorRtModelTest, ARankThatFailsEndsTheOthersAtOnce) {
  controls.patience = 60s;
  start(4);
  EXPECT_EQ(log.wait(executor->enqueue(plain())).last.finish, FinishReason::Length);
  const auto from = std::chrono::steady_clock::now();
  controls.fail_rank = 2;
  const test::Log::Sample sample = log.wait(executor->enqueue(plain()));
  EXPECT_EQ(sample.last.error_code, "ERR_BACKEND_FAILED");
  EXPECT_EQ(sample.last.error_message, "TensorRT cannot enqueue a step");
  EXPECT_LT(std::chrono::steady_clock::now() - from, 10s);
}

TEST_F(TensorRtModelTest, ARankThatFailsToLoadEndsTheOthersAtOnce) {
  controls.patience = 60s;
  const auto from = std::chrono::steady_clock::now();
  for (const int rank : {0, 3}) {
    controls.fail_rank = rank;
    expect_refused("ERR_BACKEND_FAILED", "cannot enqueue", [&] { start(4); });
  }
  EXPECT_LT(std::chrono::steady_clock::now() - from, 10s);
}

// --- what can be wrong

TEST_F(TensorRtModelTest, AnEngineOfAnotherTensorRtOrGpuIsRefusedBeforeItIsRead) {
  write_plan(0, "not to be read");
  EngineFacts built = facts(1);
  built.tensorrt = "10.9.0";
  expect_refused("ERR_ENGINE_BACKEND", "TensorRT 10.9.0 (here: TensorRT 10.15.1)", [&] { start(1, built); });
  built = facts(1);
  built.gpu = "Other GPU";
  built.compute_capability = 100;
  expect_refused("ERR_ENGINE_BACKEND",
                 "Other GPU (compute capability 10.0) (here: Fake GPU (compute capability 9.0))",
                 [&] { start(1, built); });
  built = facts(1);
  built.plugins = "0.0.9";
  expect_refused("ERR_ENGINE_BACKEND", "plugins 0.0.9", [&] { start(1, built); });
  EXPECT_EQ(controls.allocations, 0);
}

TEST_F(TensorRtModelTest, APlanCutShortIsRefused) {
  write_plan(0, fake::plan_text(0, 1).substr(0, 13));
  expect_refused("ERR_ENGINE_CORRUPT", "cannot read the plan", [&] { start(1); });
}

TEST_F(TensorRtModelTest, TooLittleMemoryIsToldBeforeAnyIsTaken) {
  controls.free_bytes = 200 << 20;
  expect_refused("ERR_OUT_OF_MEMORY", "needed are", [&] { start(1); });
  EXPECT_EQ(controls.allocations, 0);
  // Enough for the plan, not for what it computes in.
  controls.free_bytes = 300 << 20;
  controls.activation_bytes = 60 << 20;
  expect_refused("ERR_OUT_OF_MEMORY", "free are 300 MiB", [&] { start(1); });
  EXPECT_EQ(controls.allocations, 0);
  // Two ranks that share a GPU need twice as much.
  controls.activation_bytes = 30 << 20;
  start(2);
  executor.reset();
  ranks_per_device = 2;
  expect_refused("ERR_OUT_OF_MEMORY", "its 2 ranks need", [&] { start(2); });
}

TEST_F(TensorRtModelTest, TooFewGpusAreRefusedUnlessRanksShareThem) {
  controls.devices.resize(2);
  expect_refused("ERR_BACKEND_UNAVAILABLE", "4 ranks, 1 on each GPU, need 4 GPUs; this process sees 2",
                 [&] { start(4); });
  ranks_per_device = 2;
  start(4);
  EXPECT_EQ(log.wait(executor->enqueue(plain())).tokens, alone(plain(), 0, 4));
}

TEST_F(TensorRtModelTest, AGpuThatThePluginsHaveNoCodeForIsRefused) {
  controls.devices.assign(1, {"Old GPU", 75});
  expect_refused("ERR_BACKEND_UNAVAILABLE", "compute capability 7.5", [&] { start(1); });
}

TEST_F(TensorRtModelTest, GpusThatCannotReachEachOtherAreRefused) {
  controls.communicator_fails = true;
  expect_refused("ERR_COMMUNICATION", "NCCL: unhandled system error", [&] { start(2); });
}

TEST_F(TensorRtModelTest, ACacheThatCannotBeMadeIsMemory) {
  controls.kv_cache_fails = true;
  expect_refused("ERR_OUT_OF_MEMORY", "lower kvCacheTokens", [&] { start(1); });
}

TEST_F(TensorRtModelTest, PluginsThatWereNotBoundAreRefused) {
  controls.plugins_attached = 0;
  expect_refused("ERR_BACKEND_FAILED", "has 5 plugins, of which TensorRT gave 0", [&] { start(1); });
}

// TensorRT may attach plugins of each profile, and take a profile's resources only when a context first runs.
TEST_F(TensorRtModelTest, PluginsOfSeveralProfilesAreBound) {
  controls.plugins_attached = 10;
  controls.attaches_later = true;
  start(2);
  EXPECT_EQ(log.wait(executor->enqueue(plain())).tokens, alone(plain(), 0, 2));
}

TEST_F(TensorRtModelTest, ACaptureThatFailsSaysHowToDoWithout) {
  controls.capture_fails = true;
  expect_refused("ERR_BACKEND_FAILED", "KRAKEN_CUDA_GRAPHS=0", [&] { start(2); });
  capture = false;
  start(2);
  EXPECT_EQ(log.wait(executor->enqueue(plain())).tokens, alone(plain(), 0, 2));
}

TEST_F(TensorRtModelTest, SizesItWasNotBuiltForAreRefused) {
  EngineFacts built = facts(1);
  built.limits.max_tokens = 63;
  expect_refused("ERR_OPTION", "`maxStepTokens` is 64, but the engine was built for at most 63",
                 [&] { start(1, built); });
  built = facts(1);
  built.limits.max_sequences = 7;
  expect_refused("ERR_OPTION", "`maxBatchSize` is 8", [&] { start(1, built); });
  built = facts(1);
  built.block_tokens = 32;
  expect_refused("ERR_ENGINE_VERSION", "KV blocks of 32 tokens", [&] { start(1, built); });
}

TEST_F(TensorRtModelTest, OtherLimitsThanTheEnginesAreFine) {
  EngineFacts built = facts(2);
  built.limits = {4096, 64, 192, 8000};
  start(2, built);
  EXPECT_EQ(log.wait(executor->enqueue(plain(70, 20))).tokens, alone(plain(70, 20), 0, 2));
}

TEST(TensorRtFacts, ComeBackAsTheyWere) {
  EngineFacts facts{"11.1.0", "GPU", 100, "0.2.0", 64, {1, 2, 3, 4}, {7, 8}};
  const EngineFacts back = parse_engine_facts(to_json(facts), 2);
  EXPECT_EQ(to_json(back), to_json(facts));
  EXPECT_EQ(back.plugin_layers, facts.plugin_layers);
  for (const char* bad : {"", "[]", "{}", R"({"version": 3})"}) {
    EXPECT_EQ(test::code_of([&] { parse_engine_facts(bad, 2); }), "ERR_ENGINE_CORRUPT") << bad;
  }
  EXPECT_EQ(test::code_of([&] { parse_engine_facts(to_json(facts), 3); }), "ERR_ENGINE_CORRUPT");
}

}  // namespace
}  // namespace kraken::tensorrt
