#include "worker/worker_session.h"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

namespace kraken {
namespace {

constexpr size_t kRoom = 16 << 20;         // unsent bytes beyond which nothing is read or computed
constexpr size_t kFrameBytes = 1 << 20;    // responses of a step are cut into frames of about this size
constexpr size_t kValuesAtOnce = 2 << 20;  // floats of one response; the logits of a step are many more
constexpr std::chrono::milliseconds kLastWords{200}, kBetweenReports{50};

Failure failure_of(std::exception_ptr error) {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const Error& e) {
    return {e.code(), e.what()};
  } catch (const std::bad_alloc&) {
    return {"ERR_OUT_OF_MEMORY", "kraken-worker has not enough memory"};
  } catch (const std::exception& e) {
    return {"ERR_INTERNAL", e.what()};
  }
}

constexpr int64_t kMost = 1 << 20;

void within(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return;
  throw Error("ERR_OPTION", std::string("kraken-worker: ") + name + " must be from " + std::to_string(least) +
                                " to " + std::to_string(most) + ", got " + std::to_string(value));
}

// What lib/build.ts has validated.
void check_options(const PlanOptions& options) {
  within("ranks", options.ranks, 1, 1024);
  within("ranks_per_device", options.ranks_per_device, 1, 1024);
  within("max_tokens", options.max_tokens, 1, kMost);
  within("max_sequences", options.max_sequences, 1, 4096);
  within("max_rows", options.max_rows, 1, kMost);
  within("max_context", options.max_context, 1, INT32_MAX);
}

// What lib/engine-options.ts has validated: an engine of absurd sizes must fail here, not in an allocation.
void check_options(const ExecutorOptions& options) {
  within("ranks", options.ranks, 1, 1024);
  within("ranks_per_device", options.ranks_per_device, 1, 1024);
  within("threads_per_rank", options.threads_per_rank, 0, 1024);
  within("max_batch_size", options.max_batch_size, 1, 4096);
  within("max_sequence_length", options.max_sequence_length, 0, INT32_MAX);
  within("max_step_tokens", options.max_step_tokens, 0, kMost);
  within("prefill_chunk", options.prefill_chunk, 0, kMost);
  within("max_queue", options.max_queue, 0, kMost);
  within("kv_cache_tokens", options.kv_cache_tokens, 0, INT32_MAX);
  if (!(options.link_bytes_per_second >= 0 && options.link_latency_seconds >= 0)) {
    throw Error("ERR_OPTION", "kraken-worker: a link's speed and latency must be 0 or more");
  }
}

// Logits may come in pieces of whole rows (executor.h): those of a wide vocabulary exceed a frame.
std::vector<Response> in_pieces(Response&& response, size_t row) {
  std::vector<Response> pieces;
  const size_t rows = std::max<size_t>(1, kValuesAtOnce / row);
  for (size_t first = 0; first < response.values.size(); first += rows * row) {
    const bool last = first + rows * row >= response.values.size();
    Response piece = response;
    const auto begin = response.values.begin() + static_cast<ptrdiff_t>(first);
    piece.values.assign(begin, last ? response.values.end() : begin + static_cast<ptrdiff_t>(rows * row));
    piece.first_row += static_cast<int32_t>(first / row);
    if (!last) piece.finish = FinishReason::None;
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

}  // namespace

WorkerSession::WorkerSession(Descriptor socket, ExecutorLoader load, PlanBuilder build)
    : load_(std::move(load)), build_(std::move(build)), channel_(std::move(socket), kRoom) {}

WorkerSession::~WorkerSession() {
  cancelled_ = true;
  channel_.close();
  if (background_.joinable()) background_.join();
  if (executor_) executor_->shutdown();
}

void WorkerSession::run() {
  std::exception_ptr error;
  try {
    channel_.post({MessageType::Hello, Hello{.build = build_id()}});
    while (channel_.pump(Channel::kForever, [this](auto type, Reader& message) { handle(type, message); })) {
    }
  } catch (...) {
    error = std::current_exception();
    channel_.post({MessageType::Failed, failure_of(error)});
    channel_.flush(kLastWords);
  }
  cancelled_ = true;
  channel_.close();  // before joining: the executor's thread may wait for room
  if (background_.joinable()) background_.join();
  if (executor_) executor_->shutdown();
  if (error) std::rethrow_exception(error);
}

void WorkerSession::handle(MessageType type, Reader& message) {
  if (!greeted_ && type != MessageType::Hello && type != MessageType::Failed) garbled("no hello came first");
  switch (type) {
    case MessageType::Hello: {
      Hello hello;
      read_all(message, hello);
      check_hello(hello);
      greeted_ = true;
      return;
    }
    case MessageType::Failed: {
      Failure failure;
      read_all(message, failure);
      throw Error(failure.code, "Node's side ended: " + failure.message);
    }
    case MessageType::Load: {
      ExecutorOptions options;
      read_all(message, options);
      return load(options);
    }
    case MessageType::Build: {
      PlanOptions options;
      read_all(message, options);
      return build(options);
    }
    case MessageType::Enqueue: {
      Request request;
      read_all(message, request);
      return enqueue(std::move(request));
    }
    case MessageType::Cancel: {
      RequestId id = 0;
      read_all(message, id);
      return serving().cancel(id);
    }
    case MessageType::AskStats: {
      uint32_t number = 0;
      read_all(message, number);
      return channel_.post({MessageType::Stats, number, serving().stats()});
    }
    case MessageType::Ping:
      message.end();
      return channel_.post(Frame(MessageType::Pong));
    case MessageType::Shutdown:
      message.end();
      return stop();
    default:
      garbled("type " + std::to_string(static_cast<int>(type)) + " is not for the worker");
  }
}

void WorkerSession::load(const ExecutorOptions& options) {
  if (std::exchange(loading_, true)) garbled("a second engine to load");
  background_ = std::thread([this, options] {
    try {
      check_options(options);
      executor_ = load_(options, [this](std::vector<Response>&& responses) { deliver(std::move(responses)); },
                        &cancelled_,
                        {[this](int32_t count) {
                           channel_.post({MessageType::LeftQueue, count});
                         },
                         [this](const std::string& code, const std::string& reason) {
                           channel_.post({MessageType::Closed, Failure{code, reason}});
                         }});
      const RequestLimits limits = executor_->limits();
      vocab_ = static_cast<size_t>(std::max(1, limits.vocab));
      ready_ = executor_.get();
      channel_.post({MessageType::Loaded, limits});
    } catch (...) {
      channel_.post({MessageType::Failed, failure_of(std::current_exception())});
    }
  });
}

void WorkerSession::build(const PlanOptions& options) {
  if (std::exchange(loading_, true)) garbled("a second engine to build");
  background_ = std::thread([this, options] {
    try {
      check_options(options);
      auto told = Clock::now() - kBetweenReports;
      const std::string facts = build_(options, [&](double done) {
        if (Clock::now() - told >= kBetweenReports) {
          told = Clock::now();
          channel_.post({MessageType::BuildProgress, done});
        }
        return !cancelled_;
      });
      channel_.post({MessageType::Built, facts});
    } catch (...) {
      channel_.post({MessageType::Failed, failure_of(std::current_exception())});
    }
  });
}

Executor& WorkerSession::serving() {
  Executor* executor = ready_;
  if (executor == nullptr) garbled("no engine is loaded yet");
  return *executor;
}

void WorkerSession::enqueue(Request&& request) {
  Executor& executor = serving();
  if (request.id <= last_id_ || request.samples < 1 || request.samples > kMaxSamples) {
    garbled("request " + std::to_string(request.id) + " after " + std::to_string(last_id_) + ", of " +
            std::to_string(request.samples) + " samples");
  }
  last_id_ = request.id;
  try {
    executor.enqueue(request);
  } catch (const Error& error) {
    refuse(request, error);
  } catch (const std::bad_alloc&) {
    refuse(request, Error("ERR_OUT_OF_MEMORY", "kraken-worker has not enough memory for the request"));
  }
}

void WorkerSession::refuse(const Request& request, const Error& error) {
  std::vector<Response> responses(static_cast<size_t>(request.samples));
  for (int32_t sample = 0; sample < request.samples; ++sample) {
    Response& response = responses[static_cast<size_t>(sample)];
    response.request = request.id;
    response.sample = sample;
    response.finish = FinishReason::Error;
    response.error_code = error.code();
    response.error_message = error.what();
  }
  channel_.post({MessageType::LeftQueue, int32_t{1}});
  send(std::move(responses));
}

void WorkerSession::deliver(std::vector<Response>&& responses) {
  send(std::move(responses));
  channel_.wait_for_room();
}

void WorkerSession::send(std::vector<Response>&& responses) {
  Frame frame(MessageType::Responses);
  const auto add = [&](const Response& response) {
    frame.write(response);
    if (frame.size() >= kFrameBytes) {
      channel_.post(std::exchange(frame, Frame(MessageType::Responses)));
    }
  };
  for (Response& response : responses) {
    if (response.values.size() <= kValuesAtOnce) {
      add(response);
    } else {
      for (const Response& piece : in_pieces(std::move(response), vocab_)) add(piece);
    }
  }
  if (frame.size() > kFrameHeaderBytes) channel_.post(std::move(frame));
}

void WorkerSession::stop() {
  if (std::exchange(stopping_, true)) return;
  Executor& executor = serving();
  background_.join();  // it has loaded
  background_ = std::thread([this, &executor] {
    executor.shutdown();
    channel_.post({MessageType::Stopped, executor.stats()});
  });
}

}  // namespace kraken
