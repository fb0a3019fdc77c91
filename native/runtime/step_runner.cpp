#include "runtime/step_runner.h"

#include <omp.h>

#include <algorithm>

#include "base/error.h"

namespace kraken {
namespace {

// Logits of a step from which sampling is worth waking the other ranks' threads for (about 0.1 ms of work).
constexpr int64_t kParallelSamplingLogits = 1 << 18;

}  // namespace

StepRunner::Ranks::~Ranks() {
  group.run([this](int rank) { models[static_cast<size_t>(rank)].reset(); }, [](int, const std::string&) {});
}

StepRunner::StepRunner(const LocalExecutorConfig& config, std::span<const RankModelFactory> factories,
                       std::span<const std::unique_ptr<Communicator>> communicators)
    : config_(config), communicators_(communicators), ranks_(factories.size()) {
  const auto max_tokens = static_cast<size_t>(config.max_step_tokens);
  const auto max_rows = static_cast<size_t>(config.max_rows);
  tokens_.reserve(max_tokens);
  positions_.reserve(max_tokens);
  wanted_rows_.reserve(max_rows);
  jobs_.reserve(max_rows);
  shortlists_.reserve(max_rows);
  whole_rows_.reserve(max_rows);
  missing_.reserve(max_rows);
  shards_.reserve(factories.size());
  sequences_.reserve(static_cast<size_t>(config.max_batch_size));
  rows_.resize(max_rows);
  logits_ = std::make_unique_for_overwrite<float[]>(max_rows * static_cast<size_t>(config.vocab));
  workspaces_.assign(factories.size(), SamplerWorkspace(config.vocab));
  // While models are made none may be reached by another thread; they wait for each other on the host alone.
  ranks_.group.run(
      [&](int rank) {
        const auto index = static_cast<size_t>(rank);
        omp_set_num_threads(config_.threads_per_rank);  // of this thread's own team
        ranks_.models[index] = factories[index](*communicators_[index]);
        KRAKEN_CHECK(ranks_.models[index] != nullptr);
      },
      [this](int, const std::string& reason) { communicators_.front()->abort(reason); });
  on_all_ranks([this](int rank) { ranks_.models[static_cast<size_t>(rank)]->prepare(); });
  offers_shortlists_ = std::ranges::all_of(
      ranks_.models, [](const std::unique_ptr<RankModel>& model) { return model->offers_shortlists(); });
}

void StepRunner::on_all_ranks(const std::function<void(int rank)>& task) {
  ranks_.group.run(task, [this](int rank, const std::string& reason) {
    communicators_.front()->abort(reason);
    const int lost_rank = communicators_[static_cast<size_t>(rank)]->rank();
    for (const auto& model : ranks_.models) model->abort(lost_rank);
  });
}

double StepRunner::time_on_all_ranks(const std::function<void(RankModel&)>& task) {
  const auto from = Clock::now();
  on_all_ranks([&](int rank) { task(*ranks_.models[static_cast<size_t>(rank)]); });
  return std::chrono::duration<double, std::milli>(Clock::now() - from).count();
}

double StepRunner::time_products(int tokens) {
  return time_on_all_ranks([&](RankModel& model) {
    for (int left = tokens; left > 0; left -= config_.max_step_tokens) {
      model.run_products(std::min(left, config_.max_step_tokens), logits_.get());
    }
  });
}

double StepRunner::time_weight_read() {
  return time_on_all_ranks([](RankModel& model) { model.read_weights(); });
}

void StepRunner::run(std::span<const Chunk> chunks) {
  pack(chunks);
  on_all_ranks([this](int rank) { ranks_.models[static_cast<size_t>(rank)]->step(batch_, logits_.get()); });
  evaluate_shortlists();
  fetch_logits();
  evaluate_logits();
}

void StepRunner::pack(std::span<const Chunk> chunks) {
  tokens_.clear();
  positions_.clear();
  wanted_rows_.clear();
  sequences_.clear();
  jobs_.clear();
  shortlists_.clear();
  bool asks = false;
  for (const Chunk& chunk : chunks) {
    const Sequence& sequence = *chunk.sequence;
    const auto begin = static_cast<int32_t>(tokens_.size());
    sequences_.push_back({begin, chunk.length, chunk.past, sequence.blocks.blocks()});
    for (int32_t i = 0; i < chunk.length; ++i) {
      tokens_.push_back(sequence.tokens[static_cast<size_t>(chunk.past + i)]);
      positions_.push_back(chunk.past + i);
    }
    for (int32_t i = 0; i < chunk.rows; ++i) {
      const int32_t position = chunk.first_row + i;
      wanted_rows_.push_back(begin + position - chunk.past);
      jobs_.push_back({&sequence, position});
      if (!offers_shortlists_) continue;
      const bool samples = sequence.kind == Request::Kind::Generate;
      const auto request = samples ? sequence.sampler->shortlist_request(config_.vocab) : std::nullopt;
      shortlists_.push_back(request.value_or(ShortlistRequest{}));
      asks = asks || request.has_value();
    }
  }
  KRAKEN_CHECK(tokens_.size() <= static_cast<size_t>(config_.max_step_tokens));
  KRAKEN_CHECK(jobs_.size() <= rows_.size());
  batch_ = {tokens_, positions_, sequences_, wanted_rows_, {}};
  if (asks) batch_.shortlists = shortlists_;
}

void StepRunner::evaluate_shortlists() {
  whole_rows_.clear();
  const auto count = static_cast<int32_t>(jobs_.size());
  for (int32_t i = 0; i < count; ++i) {
    if (batch_.shortlists.empty() || batch_.shortlists[static_cast<size_t>(i)].count == 0) {
      whole_rows_.push_back(i);
      continue;
    }
    shards_.clear();
    for (const auto& model : ranks_.models) shards_.push_back(model->shortlist(i));
    const Sampler& sampler = *jobs_[static_cast<size_t>(i)].sequence->sampler;
    const auto token = sampler.choose(shards_, config_.vocab, workspaces_[0]);
    if (!token) {
      whole_rows_.push_back(i);
      continue;
    }
    rows_[static_cast<size_t>(i)] = Row{};
    rows_[static_cast<size_t>(i)].sampled.token = *token;
  }
}

// What a shortlist was asked for is not there yet.
void StepRunner::fetch_logits() {
  if (batch_.shortlists.empty()) return;
  missing_.clear();
  for (const int32_t row : whole_rows_) {
    if (batch_.shortlists[static_cast<size_t>(row)].count > 0) missing_.push_back(row);
  }
  if (missing_.empty()) return;
  on_all_ranks(
      [this](int rank) { ranks_.models[static_cast<size_t>(rank)]->fetch_logits(missing_, logits_.get()); });
}

void StepRunner::evaluate_logits() {
  const auto count = static_cast<int32_t>(whole_rows_.size());
  const auto ranks = static_cast<int32_t>(workspaces_.size());
  const auto evaluate_from = [&](int32_t first, int32_t stride, SamplerWorkspace& workspace) {
    for (int32_t i = first; i < count; i += stride) evaluate(whole_rows_[static_cast<size_t>(i)], workspace);
  };
  if (ranks == 1 || count <= 1 || int64_t{count} * config_.vocab < kParallelSamplingLogits) {
    return evaluate_from(0, 1, workspaces_[0]);
  }
  on_all_ranks([&](int rank) { evaluate_from(rank, ranks, workspaces_[static_cast<size_t>(rank)]); });
}

void StepRunner::evaluate(int32_t index, SamplerWorkspace& workspace) {
  const Job& job = jobs_[static_cast<size_t>(index)];
  Row& row = rows_[static_cast<size_t>(index)];
  row = Row{};
  try {
    if (job.sequence->kind == Request::Kind::Generate) {
      row.sampled = job.sequence->sampler->sample(logits(index), workspace);
    } else if (job.sequence->kind == Request::Kind::Score) {
      row.logprob = token_logprob(logits(index), job.sequence->tokens[static_cast<size_t>(job.position + 1)]);
    }
  } catch (const Error& error) {
    row.error_code = error.code();
    row.error_message = error.what();
  }
}

std::span<const float> StepRunner::logits(int32_t index) const {
  const auto vocab = static_cast<size_t>(config_.vocab);
  return {logits_.get() + static_cast<size_t>(index) * vocab, vocab};
}

RankMemory StepRunner::memory() const {
  RankMemory total;
  for (const auto& model : ranks_.models) {
    const RankMemory memory = model->memory();
    total.weights += memory.weights;
    total.kv_cache += memory.kv_cache;
    total.activations += memory.activations;
  }
  return total;
}

std::vector<std::map<std::string, double>> StepRunner::take_profile() {
  std::vector<std::map<std::string, double>> profile;
  for (const auto& model : ranks_.models) profile.push_back(model->take_profile());
  return profile;
}

std::vector<CollectiveTimes> StepRunner::collective_times() const {
  std::vector<CollectiveTimes> times;
  for (const auto& model : ranks_.models) times.push_back(model->collective_times());
  return times;
}

}  // namespace kraken
