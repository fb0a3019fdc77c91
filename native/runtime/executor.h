// The executor: requests in, batches of responses out. Nothing here knows of Node.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "runtime/sampling_params.h"

namespace kraken {

using RequestId = uint64_t;
using Clock = std::chrono::steady_clock;

struct Request {
  enum class Kind {
    Generate,
    Score,   // log-probability of every prompt token given those before it
    Logits,  // raw logits of every prompt position
    // For benchmarks, between two steps: how many milliseconds all ranks at once take for the matrix products
    // of a prompt this long (its tokens don't matter), or for one read of their weights.
    Products,
    WeightRead,
  };
  Kind kind = Kind::Generate;
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  int32_t samples = 1;  // n: independent continuations, sample i seeded with seed + i
  RequestId id = 0;     // 0: the executor chooses. Whoever chooses uses none twice
};

constexpr int32_t kMaxSamples = 1024;

// What a request must fit to be served at all.
struct RequestLimits {
  int32_t vocab = 0;
  int32_t max_sequence_length = 0;
  int32_t kv_blocks = 0, kv_block_tokens = 0;
};

// What JavaScript has validated already; here so that no caller can make a rank read outside its tables.
// Throws ERR_EMPTY_PROMPT, ERR_CONTEXT_LENGTH, ERR_TOKEN_RANGE, ERR_OPTION, ERR_OUT_OF_KV_CACHE (can never
// fit).
void check_request(const Request& request, const RequestLimits& limits);

// What decides whether an executor takes another request now.
struct Admission {
  bool stopped = false;
  const std::string& closed_code;  // why the engine takes no more; empty while it does
  const std::string& closed_message;
  int32_t queued = 0, bound = 0;  // requests that wait, and how many may
};

// Throws ERR_DISPOSED, what closed it, or ERR_QUEUE_FULL.
void check_admission(const Admission& admission);

struct Alternative {
  int32_t token;
  float logprob;
};

enum class FinishReason { None, Stop, Length, Cancelled, Error };

// One event of one request. Several of one step arrive in one call.
struct Response {
  RequestId request = 0;
  int32_t sample = 0;
  int32_t token =
      -1;  // −1: none (finish without a token, or score/logits). A stop token comes with finish == Stop
  float logprob =
      0.0f;  // natural log of the model's probability, before sampling parameters; NaN if not asked for
  std::vector<Alternative> alternatives;
  FinishReason finish = FinishReason::None;  // != None: the sample's last event
  std::string error_code, error_message;     // finish == Error
  // Score: one entry per prompt token, the first NaN. Logits: [rows, V], rows in order; both may come in
  // chunks (first_row counts on) and end with finish == Length. Products, WeightRead: the milliseconds.
  std::vector<float> values;
  int32_t first_row = 0;
  // Milliseconds since enqueue(): set on a sample's first token and on its finish.
  double queue_ms = 0, first_token_ms = 0, total_ms = 0;
  int32_t preemptions = 0;
  // Sample 0 of Generate: prompt tokens whose keys and values were reused instead of computed.
  int32_t cached_tokens = 0;
};

struct ExecutorStats {
  uint64_t steps = 0, prompt_tokens = 0, generated_tokens = 0, finished = 0, cancelled = 0, failed = 0,
           preemptions = 0;
  int32_t running = 0, waiting = 0;
  // Of the free blocks, kv_blocks_cached hold what a later request may reuse.
  int32_t kv_blocks = 0, kv_blocks_used = 0, kv_blocks_cached = 0, kv_block_tokens = 0;
  // Prompt tokens looked up among what others computed, and found. prompt_tokens counts what was computed.
  uint64_t prefix_query_tokens = 0, prefix_hit_tokens = 0;
  double step_ms_total = 0;
  std::vector<double> exposed_ms;  // per rank: time waited for collectives
  std::vector<double>
      collective_ms;              // per rank: from the start of each exchange to its arrival, hidden or not
  std::vector<double> hidden_ms;  // per rank: of these, while the rank did something else
  uint64_t exchanges = 0;         // of each rank
  std::vector<std::map<std::string, double>> profile_ms;  // per rank, since the last call (profile only)
  size_t weight_bytes = 0, kv_bytes = 0, activation_bytes = 0;  // all ranks
  std::string
      closed;  // why the engine takes no more requests; empty while it does. Not sent: each side knows
};

class Executor {
 public:
  virtual ~Executor() = default;
  // Queues a request. Throws ERR_QUEUE_FULL, ERR_OUT_OF_KV_CACHE (can never fit), ERR_DISPOSED,
  // ERR_RANK_LOST, and what JavaScript should have refused: ERR_EMPTY_PROMPT, ERR_CONTEXT_LENGTH,
  // ERR_TOKEN_RANGE, ERR_OPTION.
  virtual RequestId enqueue(Request request) = 0;
  // Takes effect before the next step; the request ends with FinishReason::Cancelled unless it ended before.
  virtual void cancel(RequestId id) = 0;
  virtual ExecutorStats stats() = 0;
  virtual RequestLimits limits() const = 0;
  // Cancels what runs (every request still gets its final event), joins all threads. Idempotent.
  virtual void shutdown() = 0;
};

struct ExecutorOptions {
  std::string directory;     // engine directory (rankN.engine files)
  std::string model_config;  // JSON of the ModelConfig
  std::string backend = "cpu";
  int ranks = 1;
  DType dtype = DType::Float32;
  bool communication = true;
  // Exchanges are delayed as a link of this speed between the ranks would; 0 bytes per second: no delay.
  double link_bytes_per_second = 0, link_latency_seconds = 0;
  int threads_per_rank = 0;     // 0: cores / ranks, at least 1
  int max_batch_size = 8;       // sequences running at once
  int max_sequence_length = 0;  // tokens of prompt + output; 0: the model's positions
  int max_step_tokens = 0;      // token budget of a step with nothing decoding; 0: default
  int prefill_chunk = 0;        // prompt tokens per step while others decode; 0: default
  int max_queue = 1024;         // waiting requests
  int64_t kv_cache_tokens = 0;  // 0: enough for max_batch_size full sequences, within memory
  bool prefix_reuse = true;     // sequences may start from blocks that others computed
  bool profile = false;
  int ranks_per_device = 1;    // ranks that share a device, for tests; of a backend whose ranks have devices
  std::string backend_config;  // what the engine's manifest keeps for the backend (JSON); empty: nothing
  // The host of each rank, the first this machine as the others reach it. Empty: all ranks are threads here.
  // The rest is of no use without.
  std::vector<std::string> hosts;
  std::vector<std::string> launch_agent;  // gets HOST COMMAND…; empty: ssh
  std::string secret;                     // all ranks share it; empty: a random one
  std::string worker_path;                // of kraken-worker, the same on every host
  DType exchange_dtype = DType::Float32;  // how sums travel: Float32 or BFloat16
  bool verify = true;                     // each host checks its rank's file against its SHA-256
  double start_seconds = 20;              // for the other ranks to connect
};

// Called on the executor's thread with all events of one step; must not block. May call cancel(), and
// shutdown(), which then returns without waiting.
using ResponseSink = std::function<void(std::vector<Response>&&)>;

// What becomes of the queue, for an owner of its bound who is somewhere else (worker/). Called on the
// executor's thread; must not block.
struct QueueObserver {
  // That many requests began to run, or ended before: they no longer count as waiting.
  std::function<void(int32_t)> left = [](int32_t) {};
  // The engine failed: every later request is refused with this.
  std::function<void(const std::string& code, const std::string& message)> closed = [](const std::string&,
                                                                                       const std::string&) {};
};

// Maps and packs the weights (on the ranks' threads), then starts. Throws what loading throws; ERR_ABORTED
// soon after `cancelled` (read during this call only) becomes true.
std::unique_ptr<Executor> make_local_executor(const ExecutorOptions& options, ResponseSink sink,
                                              const std::atomic<bool>* cancelled = nullptr,
                                              QueueObserver observer = {});

}  // namespace kraken
