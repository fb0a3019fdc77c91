// Building plans: what is asked of TensorRT for each rank and what becomes of files, over a stand-in for it;
// and the same in a worker that may be cancelled, crash, or hang.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "backend/tensorrt/build_plans.h"
#include "backend/tensorrt/engine_facts.h"
#include "backend/tensorrt/progress.h"
#include "backend/tensorrt/rank_model.h"
#include "backend/tensorrt/weight_reader.h"
#include "executor_harness.h"
#include "fake_gpu.h"
#include "weights/build.h"
#include "worker/plan_process.h"

namespace kraken::tensorrt {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr char kModel[] =
    R"({"architecture":"gpt","layers":2,"hiddenSize":12,"heads":2,"kvHeads":2,"headDim":6,"ffnSize":24,)"
    R"("vocabSize":97,"maxPositions":64,"norm":{"kind":"layer","eps":1e-5,"bias":false},)"
    R"("activation":"gelu_tanh","positions":{"kind":"learned"},)"
    R"("bias":{"qkv":false,"attnProj":false,"mlp":false,"head":false},"tiedHead":true})";

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class TensorRtBuild : public testing::Test {
 protected:
  TensorRtBuild() : folder_(fs::temp_directory_path() / ("kraken-build-" + std::to_string(getpid()))) {
    fake::controls = &controls;
    options.directory = folder_ / "engine";
    options.timings = folder_ / "timings";
    options.model_config = kModel;
    options.ranks = 2;
    options.max_tokens = 32;
    options.max_sequences = 4;
    options.max_rows = 36;
    options.max_context = 64;
  }
  ~TensorRtBuild() override { fs::remove_all(folder_); }

  // The ranks' weights, as the first half of a build leaves them.
  void write_weights() {
    fs::remove_all(options.directory);
    fs::create_directories(options.directory);
    const ModelConfig config = parse_model_config(kModel);
    nlohmann::json tensors;
    for (const WeightSpec& weight : build_graph(config, {0, 1, true}).weights) {
      for (const WeightPiece& piece : weight.pieces) {
        auto& shape = tensors[piece.source]["shape"];
        for (size_t i = 0; i < piece.size.size(); ++i) {
          shape[i] = std::max(shape[i].is_null() ? int64_t{0} : shape[i].get<int64_t>(),
                              piece.begin[i] + piece.size[i]);
        }
        tensors[piece.source]["source"] = "constant";
        tensors[piece.source]["value"] = 0.5;
      }
    }
    BuildOptions weights;
    weights.config_json = kModel;
    weights.tensors_json = tensors.dump();
    weights.ranks = options.ranks;
    weights.directory = options.directory;
    weights.extension = "weights";
    build_rank_files(weights, {});
  }
  std::string build(const PlanProgress& progress = [](double) { return true; }) {
    return build_plans_for(fake::FakeTensorRt(), fake::plugins(), parse_model_config(options.model_config),
                           options, progress);
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(options.directory))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  void expect_refused(const std::string& code, const std::string& words) {
    try {
      build();
      ADD_FAILURE() << "nothing was refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }

  fake::GpuControls controls;
  PlanOptions options;

 private:
  const fs::path folder_;
};

TEST_F(TensorRtBuild, ReplacesWeightsByPlansAndSaysHowTheyWereBuilt) {
  write_weights();
  std::vector<int> devices;
  controls.on_build = [&](const PlanRequest& request) {
    devices.push_back(request.device);
    EXPECT_EQ(request.limits.max_rows, 36);
    EXPECT_EQ(request.block_tokens, kBlockTokens);
    EXPECT_EQ(request.graph->rank, static_cast<int>(devices.size()) - 1);
    const WeightSpec& weight = request.graph->weights.front();
    EXPECT_EQ(request.weights->read(weight).dtype, DType::BFloat16);
    EXPECT_TRUE(request.progress(0.5));
  };
  std::vector<double> told;
  const std::string json = build([&](double done) {
    told.push_back(done);
    return true;
  });
  EXPECT_EQ(files(), (std::vector<std::string>{"rank0.engine", "rank1.engine"}));
  EXPECT_EQ(content(options.directory + "/rank1.engine"), fake::plan_text(1, 2));
  EXPECT_EQ(devices, (std::vector<int>{0, 1}));
  EXPECT_EQ(told, (std::vector<double>{0, 0.25, 0.5, 0.75, 1}));
  const EngineFacts facts = parse_engine_facts(json, 2);
  EXPECT_EQ(facts.tensorrt, "10.15.1");
  EXPECT_EQ(facts.gpu, "Fake GPU");
  EXPECT_EQ(facts.limits.max_context, 64);
  EXPECT_EQ(facts.plugin_layers, (std::vector<int>{5, 5}));
}

TEST_F(TensorRtBuild, KeepsTimingsForTheNextBuild) {
  write_weights();
  std::vector<size_t> found;
  controls.on_build = [&](const PlanRequest& request) {
    found.push_back(request.timings->size());
    request.timings->push_back(std::byte{1});
  };
  build();
  EXPECT_EQ(found, (std::vector<size_t>{0, 1}));
  EXPECT_EQ(content(options.timings + "/tensorrt-10.15.1-sm90.timings").size(), 2u);
  write_weights();
  build();
  EXPECT_EQ(found.at(2), 2u);
  // Where they cannot be kept, the build goes on.
  options.timings = "/dev/null/timings";
  write_weights();
  build();
  EXPECT_EQ(found.at(4), 0u);
}

TEST_F(TensorRtBuild, FewerGpusThanRanksTakeTurns) {
  controls.devices.resize(1);
  write_weights();
  controls.on_build = [](const PlanRequest& request) { EXPECT_EQ(request.device, 0); };
  build();
}

TEST_F(TensorRtBuild, GpusOfSeveralKindsAreRefused) {
  controls.devices[1] = {"Other GPU", 90};
  write_weights();
  expect_refused("ERR_BACKEND_UNAVAILABLE", "the GPUs differ (Fake GPU and Other GPU)");
}

TEST_F(TensorRtBuild, AGpuThatThePluginsHaveNoCodeForIsRefused) {
  controls.devices.assign(2, {"New GPU", 120});
  write_weights();
  expect_refused("ERR_BACKEND_UNAVAILABLE", "-DKRAKEN_CUDA_ARCHITECTURES=120-real");
}

TEST_F(TensorRtBuild, WeightsThatDoNotFitAreRefusedBeforeTensorRtTries) {
  controls.free_bytes = 100;
  controls.on_build = [](const PlanRequest&) { ADD_FAILURE() << "TensorRT tried"; };
  write_weights();
  expect_refused("ERR_OUT_OF_MEMORY", "free are 0 MiB");
}

TEST_F(TensorRtBuild, StopsWhenItIsCancelled) {
  write_weights();
  EXPECT_EQ(test::code_of([&] { build([](double done) { return done < 0.5; }); }), "ERR_ABORTED");
  EXPECT_EQ(files(), (std::vector<std::string>{"rank0.engine", "rank1.weights"}));
}

TEST(TensorRtProgress, GrowsThroughNestedPhasesAndNeverTurnsBack) {
  BuildPhases phases;
  double last = 0;
  const auto grown = [&] {
    const double done = phases.done();
    EXPECT_GE(done, last);
    EXPECT_LE(done, 1);
    return last = done;
  };
  phases.start("engine", "", 2);
  EXPECT_EQ(grown(), 0);
  phases.start("tactics", "engine", 4);
  phases.step("tactics", 1);
  EXPECT_DOUBLE_EQ(grown(), 0.9 * 0.25);
  phases.finish("tactics");
  EXPECT_DOUBLE_EQ(grown(), 0.9 * 0.25);
  phases.step("engine", 0);
  EXPECT_DOUBLE_EQ(grown(), 0.9 * 0.5);
  phases.finish("engine");
  EXPECT_DOUBLE_EQ(grown(), 0.9);
  phases.start("serialize", "", 1);
  phases.step("serialize", 0);
  EXPECT_DOUBLE_EQ(grown(), 0.9 + 0.9 * 0.1);
  // What TensorRT should not say does no harm.
  phases.step("unknown", 3);
  phases.finish("unknown");
  phases.start("itself", "itself", 0);
  phases.step("itself", 7);
  grown();
}

// --- in a worker

class TensorRtBuildInWorker : public testing::Test {
 protected:
  TensorRtBuildInWorker() {
    launch = worker_launch(".");
    launch.path = KRAKEN_FAKE_WORKER;
    options.directory = file.options(2, test::small_config()).directory;
    options.ranks = 2;
    options.max_tokens = options.max_sequences = options.max_rows = options.max_context = 8;
    options.timings = "somewhere";
  }
  std::string build() { return build_plans_in_worker(options, launch, progress); }

  fake::ControlsFile file;
  fake::Controls& worker = *file.controls;
  WorkerLaunch launch;
  PlanOptions options;
  PlanProgress progress = [](double) { return true; };
};

TEST_F(TensorRtBuildInWorker, GivesWhatTheBuildGave) {
  worker.load_milliseconds = 300;
  double furthest = 0;
  int calls = 0;
  progress = [&](double done) {
    EXPECT_GE(done, furthest);
    furthest = done;
    ++calls;
    return true;
  };
  EXPECT_EQ(nlohmann::json::parse(build()),
            nlohmann::json::parse(R"({"ranks":2,"maxRows":8,"timings":"somewhere"})"));
  EXPECT_GT(furthest, 0);
  EXPECT_GT(calls, 3);
}

TEST_F(TensorRtBuildInWorker, FailsAsTheBuildDid) {
  worker.failure = fake::Failure::EngineCorrupt;
  worker.fail_load_rank = 0;
  EXPECT_EQ(test::code_of([&] { build(); }), "ERR_ENGINE_CORRUPT");
}

TEST_F(TensorRtBuildInWorker, SurvivesAWorkerThatCrashes) {
  worker.failure = fake::Failure::Crash;
  worker.fail_load_rank = 0;
  try {
    build();
    ADD_FAILURE() << "nobody noticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "ERR_BACKEND_FAILED");
    EXPECT_NE(std::string(error.what()).find("SIGKILL"), std::string::npos) << error.what();
  }
}

TEST_F(TensorRtBuildInWorker, IsCancelledSoonEvenWhenTheBuildDoesNotListen) {
  worker.failure = fake::Failure::Hang;
  worker.fail_load_rank = 0;
  const auto from = Clock::now();
  progress = [&](double) { return Clock::now() - from < 200ms; };
  EXPECT_EQ(test::code_of([&] { build(); }), "ERR_ABORTED");
  EXPECT_LT(Clock::now() - from, 20s);
}

TEST_F(TensorRtBuildInWorker, RefusesSizesThatCannotBe) {
  options.max_tokens = 0;
  EXPECT_EQ(test::code_of([&] { build(); }), "ERR_OPTION");
}

TEST_F(TensorRtBuildInWorker, NeedsAWorkerOfThisBuild) {
  launch.path = "/nowhere/kraken-worker";
  EXPECT_EQ(test::code_of([&] { build(); }), "ERR_NATIVE_LOAD");
  launch.path = KRAKEN_RUDE_WORKER;
  for (const char* how : {"exit", "other build"}) {
    WorkerLaunch rude = launch;
    rude.environment.push_back(std::string("RUDE=") + how);
    EXPECT_EQ(test::code_of([&] { build_plans_in_worker(options, rude, progress); }), "ERR_NATIVE_LOAD")
        << how;
  }
}

}  // namespace
}  // namespace kraken::tensorrt
