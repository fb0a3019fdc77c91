// Runs one step on all ranks: packs the scheduler's chunks into a StepBatch, runs the models, then samples
// the wanted rows, from shortlists where the models offer them and these suffice, else from logits. Owns the
// ranks' threads and models; everything it needs for a step is allocated beforehand.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "runtime/local_executor.h"
#include "runtime/rank_group.h"
#include "runtime/sampler.h"
#include "runtime/scheduler.h"

namespace kraken {

class StepRunner {
 public:
  // What became of one wanted row.
  struct Row {
    SampledToken sampled;                   // Generate
    float logprob = 0;                      // Score: of the prompt's next token
    std::string error_code, error_message;  // the row could not be used; concerns this sequence only
  };

  // Makes the models, on the ranks' threads in parallel. The calling thread is rank 0, here and in run().
  StepRunner(const LocalExecutorConfig& config, std::span<const RankModelFactory> factories,
             std::span<const std::unique_ptr<Communicator>> communicators);

  // Throws what a rank threw, after waking the others; nothing can run afterwards.
  void run(std::span<const Chunk> chunks);

  // Of the last run, in the order of its chunks' rows.
  const Row& row(int32_t index) const { return rows_[static_cast<size_t>(index)]; }
  Row& row(int32_t index) { return rows_[static_cast<size_t>(index)]; }
  // Of a row that was not sampled from a shortlist.
  std::span<const float> logits(int32_t index) const;

  // Milliseconds that all ranks take at once (see Request::Kind).
  double time_products(int tokens);
  double time_weight_read();

  RankMemory memory() const;  // of all ranks
  std::vector<std::map<std::string, double>> take_profile();
  std::vector<CollectiveTimes> collective_times() const;  // of each rank, on its device

 private:
  // Models live and die on their own threads.
  struct Ranks {
    explicit Ranks(size_t count) : group(static_cast<int>(count)), models(count) {}
    ~Ranks();
    RankGroup group;
    std::vector<std::unique_ptr<RankModel>> models;
  };
  struct Job {
    const Sequence* sequence;
    int32_t position;  // of the row's token in its sequence
  };

  void pack(std::span<const Chunk> chunks);
  // Leaves in whole_rows_ those that take their logits.
  void evaluate_shortlists();
  void fetch_logits();
  void evaluate_logits();
  void evaluate(int32_t index, SamplerWorkspace& workspace);
  // Whoever fails ends the others' waits, on the host and on devices.
  void on_all_ranks(const std::function<void(int rank)>& task);
  double time_on_all_ranks(const std::function<void(RankModel& model)>& task);

  const LocalExecutorConfig& config_;
  std::span<const std::unique_ptr<Communicator>> communicators_;
  Ranks ranks_;

  bool offers_shortlists_ = false;
  StepBatch batch_;  // spans over the vectors below
  std::vector<int32_t> tokens_, positions_, wanted_rows_;
  std::vector<StepBatch::Sequence> sequences_;
  std::vector<ShortlistRequest> shortlists_;  // one for each wanted row
  std::vector<Job> jobs_;                     // likewise
  std::vector<int32_t> whole_rows_;           // to be evaluated from logits
  std::vector<int32_t> missing_;              // of these, whose logits are not there
  std::vector<ShardShortlist> shards_;        // of a row, from each rank
  std::unique_ptr<float[]> logits_;           // [max_rows, V]
  std::vector<Row> rows_;                     // [max_rows]
  std::vector<SamplerWorkspace> workspaces_;  // one for each rank
};

}  // namespace kraken
