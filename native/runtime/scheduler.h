// Continuous batching: which tokens of which sequences run in the next step. Pure logic, no threads, no
// clock.
//
// Every step first takes one token of each decoding sequence, then prompt chunks, oldest sequence first.
// While anything decodes, all prompts together get at most prefill_chunk tokens of a step, so that they don't
// stall it. A sequence is admitted in order of arrival only (the head of the queue waits until it fits:
// nobody starves) and gets the blocks of all its tokens at once. When decoding needs a block and none is
// free, the latest arrival is preempted: its blocks are freed, its tokens kept, and it re-enters the queue by
// arrival, in front of all that came later, to be computed again.
//
// A sequence that is admitted starts from the full blocks that sequences before it, or it itself before it
// was preempted, left in the cache (KvCache::adopt); at least one token is always computed, because its row
// is wanted, and of Score and Logits every row that has not left yet.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "runtime/sequence.h"

namespace kraken {

struct SchedulerOptions {
  int32_t max_batch_size = 0;       // sequences running at once
  int32_t max_sequence_length = 0;  // tokens of prompt and output
  int32_t max_step_tokens = 0;      // ≥ max_batch_size
  int32_t prefill_chunk = 0;        // prompt tokens of a step while something decodes
  int32_t max_rows = 0;             // > max_batch_size; what exceeds it is for Score and Logits rows
};

// Tokens [past, past + length) of a sequence, in one step.
struct Chunk {
  Sequence* sequence = nullptr;
  int32_t past = 0, length = 0;
  int32_t first_row = 0,
          rows = 0;  // tokens of the sequence whose logits are wanted: [first_row, first_row + rows)
};

class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, KvCache& cache);

  // To the end of the queue; arrival numbers must grow.
  void add(std::unique_ptr<Sequence> sequence);

  // The next step, empty when there is nothing to run. Valid until the next call.
  const std::vector<Chunk>& schedule();

  // Sequences that the last schedule() found too long for the whole cache; they are no longer scheduled.
  std::vector<std::unique_ptr<Sequence>> take_exhausted();

  // The chunk ran: its tokens are cached.
  void complete(const Chunk& chunk);

  // Removes a running sequence. With its siblings, if it still has any.
  std::unique_ptr<Sequence> finish(const Sequence& sequence);

  // Removes all samples of a request, waiting or running (none when unknown) …
  std::vector<std::unique_ptr<Sequence>> cancel(RequestId request);
  // … or everything.
  std::vector<std::unique_ptr<Sequence>> cancel_all();

  bool idle() const { return running_.empty() && waiting_.empty(); }
  int32_t running() const { return static_cast<int32_t>(running_.size()); }
  int32_t waiting() const;
  uint64_t preemptions() const { return preemptions_; }
  // Of Generate requests, when they are first admitted: prompt tokens looked up in the cache, and found.
  uint64_t prefix_query_tokens() const { return prefix_query_tokens_; }
  uint64_t prefix_hit_tokens() const { return prefix_hit_tokens_; }

 private:
  void schedule_decodes();
  void schedule_prompts();
  bool admit_next();
  void adopt_prefix(Sequence& sequence);
  void count_prefix(Sequence& sequence);
  // False: the sequence itself was preempted or exhausted the cache.
  bool make_room(Sequence& sequence);
  bool reclaim_from_waiting();
  void drop_blocks(Sequence& sequence);
  void preempt_latest();
  void queue_by_arrival(std::unique_ptr<Sequence> sequence);
  void take_chunk(Sequence& sequence);

  const SchedulerOptions options_;
  KvCache& cache_;
  std::vector<std::unique_ptr<Sequence>> running_;  // by arrival
  std::deque<std::unique_ptr<Sequence>> waiting_;   // by arrival
  std::vector<std::unique_ptr<Sequence>> exhausted_;
  std::vector<Chunk> step_;
  int32_t prompt_budget_ = 0, row_budget_ = 0;  // of the step being built
  uint64_t preemptions_ = 0, prefix_query_tokens_ = 0, prefix_hit_tokens_ = 0;
};

}  // namespace kraken
