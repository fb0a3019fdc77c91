#include "runtime/scheduler.h"

#include <algorithm>
#include <span>

#include "base/error.h"

namespace kraken {
namespace {

using SequencePtr = std::unique_ptr<Sequence>;

bool earlier(const SequencePtr& a, const SequencePtr& b) {
  return a->arrival < b->arrival;
}

// Moves a sequence and the samples that wait inside it to `out`.
void flatten(SequencePtr sequence, std::vector<SequencePtr>& out) {
  std::vector<SequencePtr> siblings = std::move(sequence->siblings);
  sequence->siblings.clear();
  out.push_back(std::move(sequence));
  for (SequencePtr& sibling : siblings) out.push_back(std::move(sibling));
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, KvCache& cache) : options_(options), cache_(cache) {
  KRAKEN_CHECK(options.max_batch_size > 0 && options.max_step_tokens >= options.max_batch_size);
  KRAKEN_CHECK(options.prefill_chunk > 0 && options.max_rows > options.max_batch_size);
  running_.reserve(static_cast<size_t>(options.max_batch_size));
  step_.reserve(static_cast<size_t>(options.max_batch_size));
}

void Scheduler::add(SequencePtr sequence) {
  waiting_.push_back(std::move(sequence));
}

const std::vector<Chunk>& Scheduler::schedule() {
  step_.clear();
  schedule_decodes();
  const auto decoding = static_cast<int32_t>(step_.size());
  prompt_budget_ = options_.max_step_tokens - decoding;
  if (decoding > 0) prompt_budget_ = std::min(prompt_budget_, options_.prefill_chunk);
  row_budget_ = options_.max_rows - options_.max_batch_size;
  schedule_prompts();
  return step_;
}

void Scheduler::schedule_decodes() {
  // Preemption takes from the end, never what is already in the step.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (!sequence.decoding() || !make_room(sequence)) continue;
    step_.push_back({&sequence, sequence.computed, 1, sequence.computed, 1});
  }
}

bool Scheduler::make_room(Sequence& sequence) {
  while (!cache_.grow(sequence.blocks, sequence.length())) {
    if (reclaim_from_waiting()) continue;
    if (running_.size() == 1) {  // it has the whole cache to itself
      cache_.release(sequence.blocks);
      exhausted_.push_back(std::move(running_.back()));
      running_.pop_back();
      return false;
    }
    const bool itself = running_.back().get() == &sequence;
    preempt_latest();
    if (itself) return false;
  }
  return true;
}

// A waiting sequence only holds the prefix it shares with a sibling: dropping it costs least.
bool Scheduler::reclaim_from_waiting() {
  for (auto it = waiting_.rbegin(); it != waiting_.rend(); ++it) {
    Sequence& sequence = **it;
    if (sequence.blocks.empty()) continue;
    drop_blocks(sequence);
    return true;
  }
  return false;
}

void Scheduler::drop_blocks(Sequence& sequence) {
  cache_.release(sequence.blocks);
  sequence.computed = 0;
}

void Scheduler::preempt_latest() {
  SequencePtr victim = std::move(running_.back());
  running_.pop_back();
  drop_blocks(*victim);
  ++victim->preemptions;
  ++preemptions_;
  queue_by_arrival(std::move(victim));
}

void Scheduler::queue_by_arrival(SequencePtr sequence) {
  const auto at = std::upper_bound(waiting_.begin(), waiting_.end(), sequence, earlier);
  waiting_.insert(at, std::move(sequence));
}

void Scheduler::schedule_prompts() {
  for (const SequencePtr& sequence : running_) {
    if (prompt_budget_ > 0 && !sequence->decoding()) take_chunk(*sequence);
  }
  // A sequence that was preempted or exhausted the cache in this very call shows that there is no room to
  // admit.
  while (prompt_budget_ > 0 && admit_next()) {
  }
}

bool Scheduler::admit_next() {
  if (waiting_.empty() || running() >= options_.max_batch_size) return false;
  Sequence& next = *waiting_.front();
  if (next.kind != Request::Kind::Generate && row_budget_ == 0) return false;
  // Siblings have a prefix already, and keep it while they wait; what is adopted here is pinned only if it
  // runs.
  const bool adopts = next.blocks.empty();
  if (adopts) adopt_prefix(next);
  const int32_t missing = cache_.blocks_for(next.length()) - next.blocks.size();
  // One block for each running sequence stays free, or the newcomer would soon be preempted in favour of
  // them.
  while (cache_.free_blocks() < missing + running()) {
    if (!running_.empty()) {
      if (adopts) drop_blocks(next);
      return false;
    }
    SequencePtr front = std::move(waiting_.front());  // reclaim from all but itself
    waiting_.pop_front();
    const bool reclaimed = reclaim_from_waiting();
    if (reclaimed) {
      waiting_.push_front(std::move(front));
      continue;
    }
    cache_.release(front->blocks);
    exhausted_.push_back(std::move(front));
    return true;
  }
  const bool room = cache_.grow(next.blocks, next.length());
  KRAKEN_CHECK(room);
  count_prefix(next);
  // By arrival: what was preempted may be older than what runs.
  const auto at = std::upper_bound(running_.begin(), running_.end(), waiting_.front(), earlier);
  running_.insert(at, std::move(waiting_.front()));
  waiting_.pop_front();
  take_chunk(next);
  return true;
}

void Scheduler::adopt_prefix(Sequence& sequence) {
  int32_t most = sequence.length() - 1;
  if (sequence.kind != Request::Kind::Generate) most = std::min(most, sequence.rows_emitted);
  const std::span<const int32_t> tokens(sequence.tokens);
  sequence.computed =
      cache_.adopt(tokens.first(static_cast<size_t>(most)), sequence.blocks) * cache_.block_tokens();
}

void Scheduler::count_prefix(Sequence& sequence) {
  if (sequence.kind != Request::Kind::Generate || sequence.sample != 0 || sequence.cached_tokens) return;
  sequence.cached_tokens = sequence.computed;
  if (!cache_.reuses()) return;
  prefix_query_tokens_ += static_cast<uint64_t>(sequence.prompt_length);
  prefix_hit_tokens_ += static_cast<uint64_t>(sequence.computed);
}

void Scheduler::take_chunk(Sequence& sequence) {
  const int32_t past = sequence.computed;
  int32_t length = std::min(sequence.pending(), prompt_budget_);
  int32_t first_row = 0, rows = 0;
  if (sequence.kind == Request::Kind::Generate) {
    if (length == sequence.pending()) {  // the last token's row gives the next token
      first_row = past + length - 1;
      rows = 1;
    }
  } else {
    first_row = std::max(past, sequence.rows_emitted);
    length = std::min(length, first_row + row_budget_ - past);
    rows = std::max(0, std::min(past + length, sequence.prompt_rows()) - first_row);
    row_budget_ -= rows;
  }
  if (length <= 0) return;
  prompt_budget_ -= length;
  step_.push_back({&sequence, past, length, first_row, rows});
}

void Scheduler::complete(const Chunk& chunk) {
  Sequence& sequence = *chunk.sequence;
  sequence.computed = chunk.past + chunk.length;
  cache_.remember(std::span(sequence.tokens).first(static_cast<size_t>(sequence.computed)), sequence.blocks);
  if (sequence.siblings.empty() || sequence.computed < sequence.prompt_length) return;
  // The other samples start from the full blocks of the prompt; each computes at least its last token itself.
  const int32_t shared = (sequence.prompt_length - 1) / cache_.block_tokens();
  for (SequencePtr& sibling : sequence.siblings) {
    cache_.share(sequence.blocks, shared, sibling->blocks);
    sibling->computed = shared * cache_.block_tokens();
    queue_by_arrival(std::move(sibling));
  }
  sequence.siblings.clear();
}

SequencePtr Scheduler::finish(const Sequence& sequence) {
  const auto at =
      std::find_if(running_.begin(), running_.end(), [&](const auto& one) { return one.get() == &sequence; });
  KRAKEN_CHECK(at != running_.end());
  SequencePtr done = std::move(*at);
  running_.erase(at);
  cache_.release(done->blocks);
  return done;
}

std::vector<SequencePtr> Scheduler::take_exhausted() {
  std::vector<SequencePtr> out;
  for (SequencePtr& sequence : exhausted_) flatten(std::move(sequence), out);
  exhausted_.clear();
  return out;
}

std::vector<SequencePtr> Scheduler::cancel(RequestId request) {
  std::vector<SequencePtr> out;
  const auto take_from = [&](auto& sequences) {
    for (SequencePtr& sequence : sequences) {
      if (sequence->request != request) continue;
      cache_.release(sequence->blocks);
      flatten(std::move(sequence), out);
    }
    std::erase(sequences, nullptr);
  };
  take_from(running_);
  take_from(waiting_);
  return out;
}

std::vector<SequencePtr> Scheduler::cancel_all() {
  std::vector<SequencePtr> out = take_exhausted();
  const auto take_all = [&](auto& sequences) {
    for (SequencePtr& sequence : sequences) {
      cache_.release(sequence->blocks);
      flatten(std::move(sequence), out);
    }
    sequences.clear();
  };
  take_all(running_);
  take_all(waiting_);
  return out;
}

int32_t Scheduler::waiting() const {
  int32_t count = 0;
  for (const SequencePtr& sequence : waiting_) count += 1 + static_cast<int32_t>(sequence->siblings.size());
  return count;
}

}  // namespace kraken
