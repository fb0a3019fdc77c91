// One rank of a TensorRT engine: its plan on a device, a KV cache and a communicator of Kraken's plugins, and
// steps of packed tokens. Everything goes through the seam of device.h, so nothing here needs CUDA.
//
// Two kinds of step. A decode step (one token of each sequence) is replayed from a CUDA graph, one for each
// bucket of batch sizes: the batch is padded up to the bucket with sequences of one token that write into a
// block nobody reads. Graphs of exact sizes would need no padding, but one of each size up to the largest
// batch: every change of the batch would meet a size that is still to be captured, in tens of milliseconds
// and with memory of its own. A few buckets are all captured when the engine is loaded. Every other step is
// enqueued as it is, with the prefill profile.
//
// Logits stay on the device where a row's shortlist will do (shortlists.h).
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/tensorrt/device.h"
#include "backend/tensorrt/engine_facts.h"
#include "backend/tensorrt/plugins_library.h"
#include "backend/tensorrt/shortlists.h"
#include "backend/tensorrt/step_inputs.h"

namespace kraken::tensorrt {

// Tokens of a KV block, of every engine that this version builds.
inline constexpr int kBlockTokens = 64;

// Bytes of the largest exchange, and of all buffers that a communicator makes for it.
int64_t exchange_capacity(const Graph& graph, DType dtype, int64_t max_tokens);
size_t exchange_bytes(const Graph& graph, DType dtype, int64_t max_tokens);
KvCacheShape kv_cache_shape(const Graph& graph, DType dtype, int blocks);

// The device that a rank runs on, `rank` and `ranks` being those of its host. Throws ERR_BACKEND_UNAVAILABLE
// when there are too few.
int device_of(int rank, int ranks, int ranks_per_device, size_t devices);

// What the environment may change.
struct RankSettings {
  bool capture = true;  // decode steps as CUDA graphs (KRAKEN_CUDA_GRAPHS)
  std::string
      algorithms;  // text of a table of all-reduce algorithms (KRAKEN_ALGORITHMS); empty: the built-in
};

class TensorRtModel final : public RankModel {
 public:
  // Throws ERR_ENGINE_BACKEND (built for something else), ERR_BACKEND_UNAVAILABLE, ERR_OPTION.
  TensorRtModel(const TensorRt& tensorrt, const PluginsLibrary& plugins, const Graph& graph,
                const std::string& plan_file, Communicator& communicator, const CompileOptions& options,
                const RankSettings& settings);
  ~TensorRtModel() override;

  // All ranks at once, each on its own thread. Throws ERR_ENGINE_CORRUPT, ERR_OUT_OF_MEMORY (before anything
  // is allocated: needed and free), ERR_COMMUNICATION, ERR_BACKEND_FAILED.
  void prepare() override;
  void abort(int lost_rank) noexcept override;
  void step(const StepBatch& batch, float* logits) override;
  bool offers_shortlists() const override { return true; }
  ShardShortlist shortlist(int32_t row) const override;
  void fetch_logits(std::span<const int32_t> rows, float* logits) override;
  void run_products(int tokens, float* logits) override;
  void read_weights() override;
  RankMemory memory() const override;
  std::map<std::string, double> take_profile() override;
  CollectiveTimes collective_times() const override;

 private:
  // A decode step of one size, captured.
  struct DecodeGraph {
    InputLayout layout;
    std::unique_ptr<Context> context;
    std::unique_ptr<CapturedWork> work;
  };

  void check_limits() const;
  void load();
  // Throws ERR_OUT_OF_MEMORY when what the ranks of this device are about to allocate is not free.
  void check_memory(size_t bytes, const char* what);
  // Plugins that TensorRT attaches meanwhile get this rank's communicator and cache: how many did. When a
  // context is made, and when it first runs, should it take the resources of another profile only then.
  int32_t while_bound(const std::function<void()>& work);
  std::unique_ptr<Context> make_context(Phase phase);
  void bind(Context& context, const InputLayout& layout);
  void run_plain(const StepBatch& batch);
  // Rows of the last step's logits, each to the place of its number; behind finish() they can be gathered.
  void copy_logits(std::span<const int32_t> rows);
  void gather_logits(std::span<const int32_t> rows, float* logits);
  void warm_up();
  void capture_decode();
  // Runs what meets the other ranks' kernels while no rank does anything else: on a shared GPU, allocating
  // waits for all kernels, and a kernel for its peers.
  void run_together(const std::function<void()>& enqueue);
  void finish();

  const TensorRt& tensorrt_;
  const PluginsLibrary& plugins_;
  const Graph& graph_;
  Communicator& group_;
  const std::string plan_file_;
  const CompileOptions options_;
  const RankSettings settings_;
  const EngineFacts facts_;
  const int64_t table_blocks_;  // P
  const int32_t scratch_block_;
  const RankPlace place_;
  int device_index_ = 0;
  RankMemory memory_;
  std::map<std::string, double> times_;
  CollectiveTimes before_serving_;

  // Destroyed from the last to the first: contexts before the engine, the cache and the communicator.
  std::unique_ptr<Device> device_;
  DeviceCommunicator communicator_;
  // The same, for abort() on another thread.
  std::atomic<kraken_communicator*> abortable_ = nullptr;
  DeviceKvCache kv_cache_;
  Allocation activations_, inputs_, logits_, pinned_inputs_, pinned_logits_;
  std::optional<Shortlists> shortlists_;
  std::vector<int32_t> whole_rows_;  // of the step: whose logits are wanted
  size_t activation_bytes_ = 0;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Context> prefill_;
  std::map<int64_t, DecodeGraph> decode_;  // by padded size; empty: decode steps are enqueued, too
};

}  // namespace kraken::tensorrt
