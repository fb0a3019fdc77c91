// What a backend is to the runtime: something that compiles one rank's Graph and runs steps of packed tokens.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "model/graph.h"

namespace kraken {

// A token that may be chosen.
struct Candidate {
  float logit;
  int32_t token;
};

// Candidates of one rank's columns that a shortlist has at most.
inline constexpr int32_t kMaxShortlist = 128;

// Asks for the likeliest tokens of a row in place of its logits (runtime/shortlist.h).
struct ShortlistRequest {
  int32_t count = 0;        // of each rank's columns, at most kMaxShortlist; 0: the row's logits are wanted
  bool needs_mass = false;  // whether ShardShortlist::mass is wanted
  float scale = 1.0f;       // 1 / temperature
};

// What one rank's columns of a row have to offer.
struct ShardShortlist {
  std::span<const Candidate> candidates;  // the largest, the lowest ids among equals, in any order
  bool is_whole = false;                  // no other column is larger than −inf
  bool has_numbers = true;                // false: there is a NaN or +inf, and nothing else is told
  // Σ over all columns of exp((logit − max) · scale) in units of 2^-40, max being that of the whole row.
  uint64_t mass = 0;
};

// Tokens of all sequences of a step, packed one sequence after another, without padding.
struct StepBatch {
  struct Sequence {
    int32_t begin = 0;   // first token of this sequence in the step's packed tokens
    int32_t length = 0;  // its tokens in this step (1 when decoding)
    int32_t past = 0;    // its tokens already in the KV cache
    // KV blocks in order; block i holds tokens [i·kv_block_tokens, (i+1)·kv_block_tokens) of the sequence.
    std::span<const int32_t> blocks;
  };
  std::span<const int32_t> tokens;     // [T]
  std::span<const int32_t> positions;  // [T]
  std::span<const Sequence> sequences;
  std::span<const int32_t> wanted_rows;  // [B] indices into tokens, ascending: rows whose logits are wanted
  // [B] or empty: what is wanted of these rows, where the model offers shortlists.
  std::span<const ShortlistRequest> shortlists = {};
};

// Where a rank is, of an engine whose ranks are processes.
struct RankPlace {
  int host = 0;           // the first rank there, which tells hosts apart
  int rank_on_host = 0;   // among the ranks there
  int ranks_on_host = 1;  // how many these are
};

struct CompileOptions {
  int max_tokens = 0;     // largest T of a step
  int max_sequences = 0;  // largest number of sequences of a step
  int max_rows = 0;       // largest B
  int max_context = 0;    // longest sequence
  int kv_blocks = 0;      // KV cache size in blocks
  int threads = 1;        // compute threads of this rank
  DType dtype = DType::Float32;
  bool profile = false;            // keep per-op times
  int ranks_per_device = 1;        // of a backend whose ranks have devices
  std::optional<RankPlace> place;  // nothing: all ranks are threads of this process
  std::string backend_config;      // what the engine's manifest keeps for the backend; empty: nothing
  // Once true, compile() throws ERR_ABORTED before the next tensor. Null: never.
  const std::atomic<bool>* cancelled = nullptr;
};

// Bytes one rank holds.
struct RankMemory {
  size_t weights = 0, kv_cache = 0, activations = 0;
};

// What a rank's collectives on its device took since it was loaded, in nanoseconds (comm/communicator.h).
struct CollectiveTimes {
  uint64_t exposed = 0, collective = 0, hidden = 0, exchanges = 0;
};

// One rank's compiled model. Created and run on the rank's own thread.
class RankModel {
 public:
  virtual ~RankModel() = default;
  // What is left to do before step() and takes the other ranks: all of them are made when this is called, and
  // none is destroyed before all have returned from it.
  virtual void prepare() {}
  // Ends waits for other ranks on this one's device. From any thread, while prepare() or step() runs; nothing
  // is run afterwards.
  virtual void abort(int /*lost_rank*/) noexcept {}
  // Runs one step. logits: [B, V] float32, complete on rank 0 when this returns there. Every rank passes the
  // same batch; ranks in one process pass the same logits pointer.
  virtual void step(const StepBatch& batch, float* logits) = 0;
  // Whether rows that are asked for a shortlist come as one. Others' logits come whatever was asked.
  virtual bool offers_shortlists() const { return false; }
  // Of a row of the last step; may be read by other threads until the next one.
  virtual ShardShortlist shortlist(int32_t /*row*/) const { return {}; }
  // Brings the logits of rows whose shortlists did not do. By all ranks, as step().
  virtual void fetch_logits(std::span<const int32_t> /*rows*/, float* /*logits*/) {}
  // What bounds a step from below on this machine, for benchmarks: the matrix products alone of a step that
  // gives `tokens` tokens to every layer and the logits [V] of one, or one read of all weights. The products
  // multiply whatever lies in their inputs.
  virtual void run_products(int tokens, float* logits) = 0;
  virtual void read_weights() = 0;
  virtual RankMemory memory() const = 0;
  // Milliseconds per kind of op since the last call (profile only).
  virtual std::map<std::string, double> take_profile() = 0;
  // Of collectives that the rank's communicator knows nothing of (profile only).
  virtual CollectiveTimes collective_times() const { return {}; }
};

struct Capability {
  bool available = false;
  std::string reason;  // why not, and what would help
  std::map<std::string, std::string> details;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;
  virtual Capability capability() const = 0;
  // The Graph in the sizes it is run in, where the backend pads. The calls below take that one.
  virtual Graph as_run(Graph graph) const { return graph; }
  // What an engine of that dtype computes in: that of its activations.
  virtual DType compute_dtype(DType engine) const { return engine == DType::Int8 ? DType::BFloat16 : engine; }
  // Tokens per KV block, and bytes of one block on the given rank (all layers).
  virtual int kv_block_tokens() const = 0;
  virtual size_t kv_block_bytes(const Graph& graph, DType dtype) const = 0;
  // Bytes of what a rank sends and receives in, beside its activations, for steps of that many tokens.
  virtual size_t exchange_bytes(const Graph&, DType, int64_t /*max_tokens*/) const { return 0; }
  // Memory that all `ranks` may still take together, or the one that options.place is about; where it is not
  // this machine's own. Starts the devices in question.
  virtual std::optional<size_t> device_memory(int /*ranks*/, const CompileOptions&) const { return {}; }
  // `engine_file`: the rank's, as the build wrote it.
  virtual std::unique_ptr<RankModel> compile(const Graph& graph, const std::string& engine_file,
                                             Communicator& communicator,
                                             const CompileOptions& options) const = 0;
};

// "cpu", "tensorrt" or "tensorrt-llm". Throws ERR_OPTION for another name. A backend this build lacks is a
// stub whose capability() says why and whose compile() throws ERR_BACKEND_UNAVAILABLE.
const Backend& find_backend(const std::string& name);
std::vector<const Backend*> all_backends();

// Bytes that the stored weights of an engine take when they are loaded: more where they are widened.
size_t loaded_weight_bytes(const Backend& backend, DType engine, size_t stored);

// Implemented by backend/<name>/ or its stub, chosen by CMake.
const Backend& cpu_backend();
const Backend& tensorrt_backend();
const Backend& trtllm_backend();

}  // namespace kraken
