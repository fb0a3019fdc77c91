#include "runtime/serving_loop.h"

#include <algorithm>
#include <limits>
#include <new>

#include "base/error.h"

namespace kraken {
namespace {

double milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

Response event_of(const Sequence& sequence) {
  Response event;
  event.request = sequence.request;
  event.sample = sequence.sample;
  event.preemptions = sequence.preemptions;
  event.cached_tokens = sequence.cached_tokens.value_or(0);
  return event;
}

void stamp_start(const Sequence& sequence, Response& event) {
  if (sequence.scheduled_at) event.queue_ms = milliseconds(*sequence.scheduled_at - sequence.enqueued_at);
  if (sequence.first_token_at)
    event.first_token_ms = milliseconds(*sequence.first_token_at - sequence.enqueued_at);
}

void stamp_end(const Sequence& sequence, Response& event) {
  stamp_start(sequence, event);
  event.total_ms = milliseconds(Clock::now() - sequence.enqueued_at);
}

// A request leaves the queue when its sample 0 first runs; the other samples exist from then on only.
bool counts_as_waiting(const Sequence& sequence) {
  return sequence.sample == 0 && !sequence.scheduled_at;
}

SchedulerOptions scheduler_options(const LocalExecutorConfig& config) {
  return {config.max_batch_size, config.max_sequence_length, config.max_step_tokens, config.prefill_chunk,
          config.max_rows};
}

}  // namespace

ServingLoop::ServingLoop(const LocalExecutorConfig& config, std::span<const RankModelFactory> factories,
                         std::span<const std::unique_ptr<Communicator>> communicators, Mailbox& mailbox,
                         StatsBoard& board, const ResponseSink& sink)
    : config_(config),
      mailbox_(mailbox),
      board_(board),
      sink_(sink),
      cache_(config.kv_blocks, config.kv_block_tokens, config.prefix_reuse),
      scheduler_(scheduler_options(config), cache_),
      runner_(config, factories, communicators) {
  const RankMemory memory = runner_.memory();
  board_.update([&](ExecutorStats& stats) {
    stats.kv_blocks = cache_.blocks();
    stats.kv_block_tokens = cache_.block_tokens();
    stats.weight_bytes = memory.weights;
    stats.kv_bytes = memory.kv_cache;
    stats.activation_bytes = memory.activations;
    if (config.profile) stats.profile_ms.resize(factories.size());
    for (std::vector<double>* times : {&stats.exposed_ms, &stats.collective_ms, &stats.hidden_ms}) {
      times->resize(factories.size());
    }
  });
}

void ServingLoop::run() noexcept {
  for (;;) {
    try {
      if (!turn()) return;
    } catch (const Error& error) {
      fail(error.code(), error.what());
    } catch (const std::bad_alloc&) {
      fail("ERR_OUT_OF_MEMORY", "the engine ran out of memory");
    } catch (const std::exception& error) {
      fail("ERR_RANK_LOST", error.what());
    } catch (...) {
      fail("ERR_RANK_LOST", "unknown exception");
    }
  }
}

bool ServingLoop::turn() {
  Mailbox::Mail mail = mailbox_.collect(!scheduler_.idle());
  for (auto& request : mail.requests) take(std::move(request));
  for (RequestId id : mail.cancellations) end(scheduler_.cancel(id), {FinishReason::Cancelled});
  if (mail.stop) {
    end(scheduler_.cancel_all(), {FinishReason::Cancelled});
  } else {
    step();
  }
  publish();
  emit();
  return !mail.stop;
}

void ServingLoop::take(std::unique_ptr<Sequence> request) {
  if (request->kind != Request::Kind::Products && request->kind != Request::Kind::WeightRead) {
    scheduler_.add(std::move(request));
    return;
  }
  try {
    events_.push_back(measure(*request));
  } catch (...) {
    scheduler_.add(std::move(request));  // ends with everything else
    throw;
  }
  mailbox_.left_queue(1);
}

Response ServingLoop::measure(const Sequence& request) {
  Response event = event_of(request);
  const bool products = request.kind == Request::Kind::Products;
  const double ms = products ? runner_.time_products(request.prompt_length) : runner_.time_weight_read();
  event.values.push_back(static_cast<float>(ms));
  event.finish = FinishReason::Length;
  stamp_end(request, event);
  return event;
}

void ServingLoop::step() {
  const std::vector<Chunk>& chunks = scheduler_.schedule();
  end(scheduler_.take_exhausted(), {FinishReason::Error, "ERR_OUT_OF_KV_CACHE",
                                    "the sequence outgrew the key/value cache of " +
                                        std::to_string(int64_t{cache_.blocks()} * cache_.block_tokens()) +
                                        " tokens: raise kvCacheTokens"});
  if (chunks.empty()) return;

  const auto from = Clock::now();
  uint64_t prompt_tokens = 0;
  for (const Chunk& chunk : chunks) {
    Sequence& sequence = *chunk.sequence;
    if (counts_as_waiting(sequence)) mailbox_.left_queue(1);
    if (!sequence.scheduled_at) sequence.scheduled_at = from;
    prompt_tokens += static_cast<uint64_t>(std::clamp(sequence.prompt_length - chunk.past, 0, chunk.length));
  }
  runner_.run(chunks);
  const double step_ms = milliseconds(Clock::now() - from);
  board_.update([&](ExecutorStats& stats) {
    ++stats.steps;
    stats.prompt_tokens += prompt_tokens;
    stats.step_ms_total += step_ms;
  });

  int32_t result = 0;
  for (const Chunk& chunk : chunks) {
    const int32_t rows = chunk.rows;
    scheduler_.complete(chunk);
    report(chunk, result);
    result += rows;
  }
}

void ServingLoop::report(const Chunk& chunk, int32_t first_result) {
  Sequence& sequence = *chunk.sequence;
  if (sequence.kind == Request::Kind::Generate) {
    if (chunk.rows == 1) report_token(sequence, runner_.row(first_result));
  } else {
    report_rows(sequence, chunk, first_result);
  }
}

void ServingLoop::report_token(Sequence& sequence, StepRunner::Row& row) {
  Response event = event_of(sequence);
  if (!row.error_code.empty()) {
    event.finish = FinishReason::Error;
    event.error_code = row.error_code;
    event.error_message = row.error_message;
    finish(sequence, event);
    return;
  }
  event.token = row.sampled.token;
  event.logprob = row.sampled.logprob;
  event.alternatives = std::move(row.sampled.alternatives);
  sequence.tokens.push_back(event.token);
  sequence.sampler->accept(event.token);
  if (!sequence.first_token_at) {
    sequence.first_token_at = Clock::now();
    stamp_start(sequence, event);
  }
  board_.update([](ExecutorStats& stats) { ++stats.generated_tokens; });
  if (sequence.sampler->is_stop_token(event.token)) {
    event.finish = FinishReason::Stop;
  } else if (sequence.length() >= sequence.token_limit) {
    event.finish = FinishReason::Length;
  }
  if (event.finish != FinishReason::None) {
    finish(sequence, event);
  } else {
    events_.push_back(std::move(event));
  }
}

void ServingLoop::report_rows(Sequence& sequence, const Chunk& chunk, int32_t first_result) {
  Response event = event_of(sequence);
  const bool scores = sequence.kind == Request::Kind::Score;
  const bool first = chunk.past == 0 && sequence.rows_emitted == 0;
  event.first_row = scores && !first ? chunk.first_row + 1 : chunk.first_row;
  if (scores && first) event.values.push_back(std::numeric_limits<float>::quiet_NaN());
  for (int32_t i = 0; i < chunk.rows; ++i) {
    const StepRunner::Row& row = runner_.row(first_result + i);
    if (!row.error_code.empty()) {
      event.values.clear();
      event.finish = FinishReason::Error;
      event.error_code = row.error_code;
      event.error_message = row.error_message;
      finish(sequence, event);
      return;
    }
    if (scores) {
      event.values.push_back(row.logprob);
    } else {
      const auto logits = runner_.logits(first_result + i);
      event.values.insert(event.values.end(), logits.begin(), logits.end());
    }
  }
  sequence.rows_emitted = std::max(sequence.rows_emitted, chunk.first_row + chunk.rows);
  if (!event.values.empty() && !sequence.first_token_at) {
    sequence.first_token_at = Clock::now();
    stamp_start(sequence, event);
  }
  if (sequence.computed == sequence.prompt_length) {
    event.finish = FinishReason::Length;
    finish(sequence, event);
  } else if (!event.values.empty()) {
    events_.push_back(std::move(event));
  }
}

void ServingLoop::finish(Sequence& sequence, Response& event) {
  stamp_end(sequence, event);
  const bool failed = event.finish == FinishReason::Error;
  if (failed) cache_.forget(sequence.blocks);  // else a passing fault would last as long as its blocks
  events_.push_back(std::move(event));
  scheduler_.finish(sequence);  // the sequence is gone
  board_.update([=](ExecutorStats& stats) { ++(failed ? stats.failed : stats.finished); });
}

void ServingLoop::end(const Sequences& sequences, const Ending& ending) {
  int32_t not_started = 0;
  for (const auto& sequence : sequences) {
    Response event = event_of(*sequence);
    event.finish = ending.reason;
    event.error_code = ending.code;
    event.error_message = ending.message;
    stamp_end(*sequence, event);
    events_.push_back(std::move(event));
    not_started += counts_as_waiting(*sequence);
  }
  if (sequences.empty()) return;
  mailbox_.left_queue(not_started);
  board_.update([&](ExecutorStats& stats) {
    (ending.reason == FinishReason::Cancelled ? stats.cancelled : stats.failed) += sequences.size();
  });
}

// The ranks are out of step for good: everything pending ends with the error, everything later is refused.
void ServingLoop::fail(const std::string& code, const std::string& message) noexcept {
  try {
    for (auto& request : mailbox_.close("ERR_RANK_LOST", "the engine failed before: " + message)) {
      scheduler_.add(std::move(request));
    }
    end(scheduler_.cancel_all(), {FinishReason::Error, code, message});
    publish();
    emit();
  } catch (...) {  // the sink failed, or no memory is left to say so
    events_.clear();
  }
}

void ServingLoop::emit() {
  if (events_.empty()) return;
  std::vector<Response> events;
  events.swap(events_);
  sink_(std::move(events));
}

void ServingLoop::publish() {
  board_.update([&](ExecutorStats& stats) {
    stats.running = scheduler_.running();
    stats.waiting = scheduler_.waiting();
    stats.kv_blocks_used = cache_.used_blocks();
    stats.kv_blocks_cached = cache_.idle_blocks();
    stats.prefix_query_tokens = scheduler_.prefix_query_tokens();
    stats.prefix_hit_tokens = scheduler_.prefix_hit_tokens();
    stats.preemptions = scheduler_.preemptions();
    if (!config_.profile) return;
    const auto profile = runner_.take_profile();
    for (size_t rank = 0; rank < profile.size(); ++rank) {
      for (const auto& [op, ms] : profile[rank]) stats.profile_ms[rank][op] += ms;
    }
    const auto collectives = runner_.collective_times();
    for (size_t rank = 0; rank < collectives.size(); ++rank) {
      stats.exposed_ms[rank] = static_cast<double>(collectives[rank].exposed) * 1e-6;
      stats.collective_ms[rank] = static_cast<double>(collectives[rank].collective) * 1e-6;
      stats.hidden_ms[rank] = static_cast<double>(collectives[rank].hidden) * 1e-6;
    }
    stats.exchanges = collectives.front().exchanges;
  });
}

}  // namespace kraken
