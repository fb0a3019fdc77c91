#include "worker/worker_executor.h"

#include <pthread.h>

#include <algorithm>
#include <new>
#include <utility>

namespace kraken {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLookForAbort{10}, kStatsPatience{250};
constexpr milliseconds kFatePatience{300};  // from the socket's end to the process's
constexpr milliseconds kFarewell{500};      // for a worker that was told to end

double milliseconds_since(Clock::time_point then) {
  return std::chrono::duration<double, std::milli>(Clock::now() - then).count();
}

milliseconds until(Clock::time_point when) {
  return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(when - Clock::now()));
}

Response last_event(RequestId id, size_t sample, bool cancelled, const Failure& failure) {
  Response event;
  event.request = id;
  event.sample = static_cast<int32_t>(sample);
  event.finish = cancelled ? FinishReason::Cancelled : FinishReason::Error;
  if (!cancelled) {
    event.error_code = failure.code;
    event.error_message = failure.message;
  }
  return event;
}

}  // namespace

WorkerExecutor::WorkerExecutor(const ExecutorOptions& options, const WorkerLaunch& launch, ResponseSink sink,
                               const std::atomic<bool>* cancelled)
    : launch_(launch),
      sink_(std::move(sink)),
      max_queue_(options.max_queue),
      sockets_(make_socket_pair()),
      channel_(std::move(sockets_.first)) {
  thread_ = std::thread([this, options] { run(options); });
  std::unique_lock lock(mutex_);
  thread_id_ = thread_.get_id();
  while (!changed_.wait_for(lock, kLookForAbort, [this] { return phase_ >= Phase::Serving; })) {
    if (cancelled == nullptr || !*cancelled || std::exchange(aborted_, true)) continue;
    channel_.wake();
  }
  if (phase_ == Phase::Serving) return;
  lock.unlock();
  thread_.join();
  throw Error(failure_.code, failure_.message);
}

RequestId WorkerExecutor::enqueue(Request request) {
  check_request(request, limits_);
  std::lock_guard lock(mutex_);
  check_admission({stopping_, closed_.code, closed_.message, queued_, max_queue_});
  request.id = last_id_ + 1;
  const bool generates = request.kind == Request::Kind::Generate;
  if (!generates) request.samples = 1;
  Frame frame(MessageType::Enqueue, request);
  Pending pending;
  pending.enqueued_at = Clock::now();
  pending.samples.resize(static_cast<size_t>(request.samples));
  pending.running = request.samples;
  const auto entry = pending_.emplace(request.id, std::move(pending)).first;
  try {
    channel_.post(std::move(frame));  // inside the lock: ids grow on the wire
  } catch (...) {
    pending_.erase(entry);
    throw;
  }
  ++queued_;
  return last_id_ = request.id;
}

void WorkerExecutor::cancel(RequestId id) {
  std::lock_guard lock(mutex_);
  const auto found = pending_.find(id);
  if (stopping_ || found == pending_.end() || std::exchange(found->second.cancelled, true)) return;
  channel_.post({MessageType::Cancel, id});
}

ExecutorStats WorkerExecutor::stats() {
  std::unique_lock lock(mutex_);
  if (phase_ == Phase::Serving && !on_own_thread()) {
    const uint32_t asked = ++stats_asked_;
    channel_.post({MessageType::AskStats, asked});
    changed_.wait_for(lock, kStatsPatience, [&] { return stats_got_ >= asked || phase_ == Phase::Ended; });
  }
  ExecutorStats stats = stats_;
  stats.closed = closed_.message;
  for (auto& rank : stats_.profile_ms) rank.clear();
  return stats;
}

void WorkerExecutor::shutdown() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  channel_.wake();
  if (on_own_thread()) return;  // asked for by the sink; the destructor joins
  std::lock_guard lock(shutdown_mutex_);
  if (thread_.joinable()) thread_.join();
}

void WorkerExecutor::run(const ExecutorOptions& options) noexcept {
  pthread_setname_np(pthread_self(), "kraken-worker-io");
  Failure failure;
  std::optional<WorkerProcess> process;
  try {
    process.emplace(launch_, sockets_.second);
    pid_ = process->pid();
    sockets_.second = Descriptor();
    converse(options, *process);
  } catch (const Error& error) {
    failure = {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    failure = {"ERR_OUT_OF_MEMORY", "not enough memory to speak with kraken-worker"};
  } catch (const std::exception& error) {
    failure = {"ERR_RANK_LOST", error.what()};
  }
  if (phase_ == Phase::Greeting && failure.code == "ERR_RANK_LOST") {
    failure = {"ERR_NATIVE_LOAD", launch_.path + " is no kraken-worker of this build (" + failure.message +
                                      "): " + kWorkerRemedy};
  }
  channel_.close();
  finish(failure);  // before waiting for the process: nobody's request shall
  if (process) process->end(stopped_ ? kFarewell : milliseconds(0));
  enter(Phase::Ended);
}

void WorkerExecutor::converse(const ExecutorOptions& options, WorkerProcess& process) {
  channel_.post({MessageType::Hello, Hello{.build = build_id()}});
  const auto greeted_by = Clock::now() + launch_.start_timeout;
  auto next_beat = Clock::now() + launch_.heartbeat;
  std::optional<Clock::time_point> stopped_by;
  // Beats are counted, not time: while this process itself is stopped, no worker can answer it.
  for (int silent = 0; !stopped_;) {
    const bool open = channel_.pump(
        until(next_beat), [&](MessageType type, Reader& message) { handle(type, message, options); });
    if (!open && !stopped_) lost(process);
    Phase phase;
    {
      std::lock_guard lock(mutex_);
      phase = phase_;
      if (aborted_) throw Error("ERR_ABORTED", "loading was aborted");
      if (stopping_ && phase != Phase::Serving) throw Error("ERR_DISPOSED", "the engine is disposed");
      if (stopping_ && !stopped_by) {
        stopped_by = Clock::now() + launch_.shutdown_timeout;
        channel_.post(Frame(MessageType::Shutdown));
      }
    }
    const auto now = Clock::now();
    if (stopped_by && now >= *stopped_by) return;
    if (phase == Phase::Greeting && now >= greeted_by) {
      throw Error("ERR_RANK_LOST", "it did not say hello");
    }
    if (now < next_beat) continue;
    next_beat = now + launch_.heartbeat;
    silent = std::exchange(heard_, false) ? 0 : silent + 1;
    if (phase != Phase::Greeting && silent >= launch_.missed_heartbeats) {
      throw Error("ERR_RANK_LOST", "kraken-worker (process " + std::to_string(process.pid()) +
                                       ") has given no sign of life for " +
                                       std::to_string((launch_.heartbeat * silent).count()) +
                                       " ms: it hangs or was stopped");
    }
    if (phase != Phase::Greeting && !std::exchange(asked_, true)) channel_.post(Frame(MessageType::Ping));
  }
}

void WorkerExecutor::lost(WorkerProcess& process) {
  process.ended(kFatePatience);
  std::lock_guard lock(mutex_);
  if (phase_ == Phase::Greeting) {
    throw Error("ERR_RANK_LOST", "it " + process.fate() + " before it said hello");
  }
  throw Error("ERR_RANK_LOST", "kraken-worker (process " + std::to_string(process.pid()) + ") " +
                                   process.fate() + (phase_ == Phase::Loading ? " while it loaded" : ""));
}

void WorkerExecutor::handle(MessageType type, Reader& message, const ExecutorOptions& options) {
  heard_ = true;
  if (phase_ == Phase::Greeting && type != MessageType::Hello && type != MessageType::Failed) {
    garbled("no hello came first");
  }
  switch (type) {
    case MessageType::Hello: {
      Hello hello;
      read_all(message, hello);
      check_hello(hello);
      if (phase_ != Phase::Greeting) garbled("a second hello");
      enter(Phase::Loading);
      return channel_.post({MessageType::Load, options});
    }
    case MessageType::Failed: {
      Failure failure;
      read_all(message, failure);
      throw Error(failure.code, failure.message);
    }
    case MessageType::Loaded: {
      if (phase_ != Phase::Loading) garbled("loaded twice");
      read_all(message, limits_);
      return enter(Phase::Serving);
    }
    case MessageType::Responses:
      return receive(message);
    case MessageType::LeftQueue: {
      int32_t count = 0;
      read_all(message, count);
      std::lock_guard lock(mutex_);
      if (count < 0 || count > queued_)
        garbled(std::to_string(count) + " requests left a queue of " + std::to_string(queued_));
      queued_ -= count;
      return;
    }
    case MessageType::Closed: {
      Failure failure;
      read_all(message, failure);
      std::lock_guard lock(mutex_);
      if (closed_.code.empty()) closed_ = std::move(failure);
      return;
    }
    case MessageType::Stats: {
      uint32_t number = 0;
      ExecutorStats stats;
      read_all(message, number, stats);
      keep(std::move(stats));
      std::lock_guard lock(mutex_);
      stats_got_ = number;
      changed_.notify_all();
      return;
    }
    case MessageType::Pong:
      message.end();
      asked_ = false;
      return;
    case MessageType::Stopped: {
      ExecutorStats stats;
      read_all(message, stats);
      keep(std::move(stats));
      stopped_ = true;
      return;
    }
    default:
      garbled("type " + std::to_string(static_cast<int>(type)) + " is not for Node");
  }
}

void WorkerExecutor::receive(Reader& message) {
  std::vector<Response> events;
  while (!message.at_end()) read(message, events.emplace_back());
  size_t good = 0;
  std::exception_ptr error;
  try {
    std::lock_guard lock(mutex_);
    for (; good < events.size(); ++good) account(events[good]);
  } catch (...) {
    error = std::current_exception();
    events.resize(good);  // those are accounted for, and must arrive
  }
  if (!events.empty()) sink_(std::move(events));
  if (error) std::rethrow_exception(error);
}

// The worker counts from when a request reached it; who asked counts from enqueue() to now.
void WorkerExecutor::account(Response& response) {
  const auto found = pending_.find(response.request);
  if (found == pending_.end()) garbled("an event of request " + std::to_string(response.request));
  Pending& pending = found->second;
  const auto index = static_cast<size_t>(response.sample);
  if (response.sample < 0 || index >= pending.samples.size() || pending.samples[index].done ||
      response.token < -1 || response.token >= limits_.vocab) {
    garbled("an event of sample " + std::to_string(response.sample) + " with token " +
            std::to_string(response.token));
  }
  Pending::Sample& sample = pending.samples[index];
  const double elapsed = milliseconds_since(pending.enqueued_at);
  if (response.first_token_ms > 0) {
    if (sample.first_token_ms == 0) sample.first_token_ms = elapsed;
    response.first_token_ms = sample.first_token_ms;
  }
  if (response.finish == FinishReason::None) return;
  response.total_ms = elapsed;
  sample.done = true;
  if (--pending.running == 0) pending_.erase(found);
}

void WorkerExecutor::keep(ExecutorStats&& stats) {
  std::lock_guard lock(mutex_);
  // Not fetched yet by anybody: an answer that came too late for who asked.
  for (size_t rank = 0; rank < std::min(stats.profile_ms.size(), stats_.profile_ms.size()); ++rank) {
    for (const auto& [op, ms] : stats_.profile_ms[rank]) stats.profile_ms[rank][op] += ms;
  }
  stats_ = std::move(stats);
}

void WorkerExecutor::enter(Phase phase) {
  std::lock_guard lock(mutex_);
  phase_ = phase;
  changed_.notify_all();
}

// Every request that is pending gets its last event; every later one is refused.
void WorkerExecutor::finish(const Failure& failure) noexcept {
  try {
    std::vector<Response> events;
    {
      std::lock_guard lock(mutex_);
      const bool cancelled = stopping_;
      failure_ = failure;
      if (closed_.code.empty()) closed_ = {"ERR_RANK_LOST", "the engine failed before: " + failure.message};
      for (auto& [id, pending] : pending_) {
        for (size_t sample = 0; sample < pending.samples.size(); ++sample) {
          if (pending.samples[sample].done) continue;
          events.push_back(last_event(id, sample, cancelled, failure));
          events.back().first_token_ms = pending.samples[sample].first_token_ms;
          events.back().total_ms = milliseconds_since(pending.enqueued_at);
        }
      }
      pending_.clear();
      queued_ = 0;
      (cancelled ? stats_.cancelled : stats_.failed) += events.size();
      stats_.running = stats_.waiting = stats_.kv_blocks_used = 0;
    }
    if (!events.empty()) sink_(std::move(events));
  } catch (...) {  // the sink failed, or no memory is left to say so
  }
}

}  // namespace kraken
