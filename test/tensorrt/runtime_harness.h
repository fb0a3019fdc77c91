// A tensorrt engine on the host and the same model on the CPU backend: weights are written, plans built of
// them, ranks loaded as the runtime loads them; only the networks run in interpreters, with our plugins' own
// kernels.
#pragma once

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

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int kContext = 160, kStepTokens = 48, kBatch = 4, kSampled = 6;

inline LocalExecutorConfig config_for(const ModelConfig& model, int block_tokens, int blocks) {
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

inline CompileOptions options_for(const LocalExecutorConfig& config) {
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

inline Answers ask(Executor& executor, Log& log, int vocab) {
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

inline Answers on_the_cpu(const RandomModel& model, const Ask& ask = test::ask) {
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

inline Answers on_tensorrt(HostTensorRt& host, const RandomModel& model, int ranks, bool captured,
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
  plans.dtype = model.dtype();
  plans.max_tokens = config.max_step_tokens;
  plans.max_sequences = config.max_batch_size;
  plans.max_rows = config.max_rows;
  plans.max_context = config.max_sequence_length;
  CompileOptions options = options_for(config);
  options.dtype = model.dtype();
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

inline ModelConfig config_of(const std::string& name) {
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

}  // namespace kraken::test
