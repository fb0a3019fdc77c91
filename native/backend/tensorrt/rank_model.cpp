#include "backend/tensorrt/rank_model.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>

#include "base/error.h"
#include "weights/mapped_file.h"

namespace kraken::tensorrt {
namespace {

constexpr int kWarmUpTokens = 16;
// As many as plugins/communicator/ makes: four exchanges rotate, and one blocking; each sends and receives.
constexpr size_t kExchangeBuffers = 10;
// What TensorRT and the driver take besides what is asked for (the context of the device, kernels, graphs).
constexpr size_t kReserve = size_t{256} << 20;

std::string mebibytes(size_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

std::string name_of(int rank, int device) {
  return "rank " + std::to_string(rank) + " on GPU " + std::to_string(device);
}

// visit(first, count) of rows that follow one another.
template <typename Visit>
void for_each_run(std::span<const int32_t> rows, Visit visit) {
  for (size_t begin = 0; begin < rows.size();) {
    size_t end = begin + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    visit(static_cast<size_t>(rows[begin]), end - begin);
    begin = end;
  }
}

}  // namespace

int64_t exchange_capacity(const Graph& graph, DType dtype, int64_t max_tokens) {
  return max_tokens * graph.config.width * static_cast<int64_t>(size_of(dtype));
}

size_t exchange_bytes(const Graph& graph, DType dtype, int64_t max_tokens) {
  return kExchangeBuffers * static_cast<size_t>(exchange_capacity(graph, dtype, max_tokens));
}

KvCacheShape kv_cache_shape(const Graph& graph, DType dtype, int blocks) {
  return {dtype, graph.config.layers, graph.ways * graph.kv_heads, graph.config.head_dim, kBlockTokens,
          blocks};
}

int device_of(int rank, int ranks, int ranks_per_device, size_t devices) {
  const int needed = (ranks + ranks_per_device - 1) / ranks_per_device;
  if (static_cast<size_t>(needed) > devices) {
    throw Error(
        "ERR_BACKEND_UNAVAILABLE",
        std::to_string(ranks) + " ranks, " + std::to_string(ranks_per_device) + " on each GPU, need " +
            std::to_string(needed) + " GPUs; this process sees " + std::to_string(devices) +
            " (CUDA_VISIBLE_DEVICES may hide some). For tests, `ranksPerDevice` lets several share one");
  }
  return rank / ranks_per_device;
}

TensorRtModel::TensorRtModel(const TensorRt& tensorrt, const PluginsLibrary& plugins, const Graph& graph,
                             const std::string& plan_file, Communicator& communicator,
                             const CompileOptions& options, const RankSettings& settings)
    : tensorrt_(tensorrt),
      plugins_(plugins),
      graph_(graph),
      group_(communicator),
      plan_file_(plan_file),
      options_(options),
      settings_(settings),
      facts_(parse_engine_facts(options.backend_config, graph.ranks)),
      table_blocks_((facts_.limits.max_context + facts_.block_tokens - 1) / facts_.block_tokens),
      scratch_block_(options.kv_blocks),
      place_(options.place.value_or(RankPlace{0, graph.rank, graph.ranks})) {
  check_limits();
  const std::vector<DeviceInfo> devices = tensorrt_.devices();
  device_index_ =
      device_of(place_.rank_on_host, place_.ranks_on_host, options_.ranks_per_device, devices.size());
  const DeviceInfo& device = devices[static_cast<size_t>(device_index_)];
  check_architecture(plugins_, device);
  check_built_for(facts_, {tensorrt_.version(), plugins_.kraken_plugins_version(), device});
  device_ = tensorrt_.open(device_index_);
}

void TensorRtModel::prepare() {
  load();
  warm_up();
  if (settings_.capture) capture_decode();
  times_.clear();
  before_serving_ = tensorrt::collective_times(plugins_, *communicator_);
}

// A rank that has no communicator yet, or waits on the host, learns it from its group.
void TensorRtModel::abort(int lost_rank) noexcept {
  if (kraken_communicator* communicator = abortable_) {
    plugins_.kraken_communicator_abort(communicator, lost_rank);
  }
}

TensorRtModel::~TensorRtModel() {
  try {
    device_->finish();               // nothing that is freed now may be in use
  } catch (const std::exception&) {  // whoever waited for the step that failed was told
  }
}

// What the engine was built for bounds what it may be loaded with. lib/engine-options.ts says it nicer.
void TensorRtModel::check_limits() const {
  const auto within = [](const char* name, int value, int most) {
    if (value <= most) return;
    throw Error("ERR_OPTION", std::string("`") + name + "` is " + std::to_string(value) +
                                  ", but the engine was built for at most " + std::to_string(most));
  };
  within("maxStepTokens", options_.max_tokens, facts_.limits.max_tokens);
  within("maxBatchSize", options_.max_sequences, facts_.limits.max_sequences);
  within("maxSequenceLength", options_.max_context, facts_.limits.max_context);
  within("rows of logits", options_.max_rows, facts_.limits.max_rows);
  if (facts_.block_tokens != kBlockTokens) {
    throw Error("ERR_ENGINE_VERSION", "the engine has KV blocks of " + std::to_string(facts_.block_tokens) +
                                          " tokens, this version of kraken-engine of " +
                                          std::to_string(kBlockTokens) + ": build it again");
  }
}

void TensorRtModel::load() {
  const KvCacheShape cache = kv_cache_shape(graph_, options_.dtype, options_.kv_blocks + 1);
  memory_.kv_cache = cache.block_bytes() * static_cast<size_t>(cache.blocks);
  const InputLayout largest(options_.max_tokens, options_.max_sequences, options_.max_rows, table_blocks_);
  const auto columns = static_cast<size_t>(graph_.vocab_size);
  const size_t logit_bytes = static_cast<size_t>(options_.max_rows) * columns * sizeof(float);
  const size_t shortlist_bytes = Shortlists::device_bytes(options_.max_rows, graph_.ranks);
  const size_t buffers = largest.bytes + logit_bytes + shortlist_bytes +
                         exchange_bytes(graph_, options_.dtype, facts_.limits.max_tokens);
  {
    const MappedFile plan(plan_file_);
    memory_.weights = plan.size();
    check_memory(plan.size() + memory_.kv_cache + buffers, "weights, key/value cache and buffers");
    engine_ = device_->load({plan.data(), plan.size()});
    plan.release(0, plan.size());
  }
  activation_bytes_ =
      std::max(engine_->activation_bytes(Phase::Prefill), engine_->activation_bytes(Phase::Decode));
  memory_.activations = activation_bytes_ + buffers;
  check_memory(memory_.kv_cache + memory_.activations, "key/value cache, activations and buffers");

  communicator_ = make_communicator(plugins_, group_, graph_.communication,
                                    exchange_capacity(graph_, options_.dtype, facts_.limits.max_tokens),
                                    settings_.algorithms, options_.profile);
  abortable_ = communicator_.get();
  kv_cache_ = make_kv_cache(plugins_, cache);
  activations_ = device_->allocate(activation_bytes_);
  inputs_ = device_->allocate(largest.bytes);
  logits_ = device_->allocate(logit_bytes);
  pinned_inputs_ = device_->allocate_pinned(largest.bytes);
  pinned_logits_ = device_->allocate_pinned(logit_bytes);
  shortlists_.emplace(*device_, plugins_, *communicator_, options_.max_rows, graph_.ranks);
  whole_rows_.reserve(static_cast<size_t>(options_.max_rows));
  prefill_ = make_context(Phase::Prefill);
  device_->finish();
}

// The ranks of one device ask together, so that none takes what another counts on.
void TensorRtModel::check_memory(size_t bytes, const char* what) {
  struct Need {
    int64_t host, device, bytes;
  };
  const Need mine{place_.host, device_index_, static_cast<int64_t>(bytes)};
  std::vector<Need> all(static_cast<size_t>(group_.size()));
  group_.barrier();  // what came before is allocated
  const size_t free = device_->memory().free;
  group_.all_gather(&mine, all.data(), sizeof mine);
  size_t needed = kReserve;
  int sharing = 0;
  for (const Need& need : all) {
    if (need.host != mine.host || need.device != mine.device) continue;
    needed += static_cast<size_t>(need.bytes);
    ++sharing;
  }
  if (needed <= free) return;
  throw Error(
      "ERR_OUT_OF_MEMORY",
      name_of(graph_.rank, device_index_) + " has not enough memory for " + what + ": " +
          (sharing > 1 ? "its " + std::to_string(sharing) + " ranks need " : "needed are ") +
          mebibytes(needed) + ", free are " + mebibytes(free) +
          ". Lower kvCacheTokens, maxBatchSize or maxSequenceLength; build with more ranks, or with a "
          "smaller maxStepTokens");
}

int32_t TensorRtModel::while_bound(const std::function<void()>& work) {
  const kraken_binding binding = {communicator_.get(), kv_cache_.get()};
  plugins_.kraken_bind(&binding);
  try {
    work();
  } catch (...) {
    plugins_.kraken_unbind();
    throw;
  }
  return plugins_.kraken_unbind();
}

std::unique_ptr<Context> TensorRtModel::make_context(Phase phase) {
  std::unique_ptr<Context> context;
  const int32_t attached =
      while_bound([&] { context = engine_->make_context(phase, activations_.get(), activation_bytes_); });
  const int expected = facts_.plugin_layers[static_cast<size_t>(graph_.rank)];
  // More where TensorRT attaches a layer's plugin once for each profile.
  if (attached < expected) {
    throw Error("ERR_BACKEND_FAILED", "the engine has " + std::to_string(expected) +
                                          " plugins, of which TensorRT gave " + std::to_string(attached) +
                                          " their communicator and cache: it would compute nonsense");
  }
  return context;
}

void TensorRtModel::bind(Context& context, const InputLayout& layout) {
  const int64_t tables[] = {layout.sequences, layout.table_blocks};
  for (size_t input = 0; input < kInputs; ++input) {
    const int64_t* size = &layout.sizes[input];
    context.set_shape(kInputNames[input], input == kBlockTables ? std::span(tables) : std::span(size, 1));
    context.set_address(kInputNames[input], inputs_.get() + layout.offsets[input]);
  }
  context.set_address(kLogitsName, logits_.get());
}

void TensorRtModel::run_plain(const StepBatch& batch) {
  const auto rows = std::max<int64_t>(1, static_cast<int64_t>(batch.wanted_rows.size()));
  const InputLayout layout(static_cast<int64_t>(batch.tokens.size()),
                           static_cast<int64_t>(batch.sequences.size()), rows, table_blocks_);
  pack_inputs(batch, layout, scratch_block_, pinned_inputs_.get());
  device_->copy_to_device(inputs_.get(), pinned_inputs_.get(), layout.bytes);
  bind(*prefill_, layout);
  prefill_->enqueue();
}

void TensorRtModel::finish() {
  device_->finish();
  check_communicator(plugins_, *communicator_);
}

void TensorRtModel::run_together(const std::function<void()>& enqueue) {
  group_.barrier();
  while_bound(enqueue);
  finish();
  group_.barrier();
}

void TensorRtModel::step(const StepBatch& batch, float* logits) {
  const auto from = std::chrono::steady_clock::now();
  const auto sequences = static_cast<int64_t>(batch.sequences.size());
  const auto graph =
      is_decode_step(batch) ? decode_.find(decode_bucket(sequences, options_.max_sequences)) : decode_.end();
  if (graph == decode_.end()) {
    run_plain(batch);
  } else {
    DecodeGraph& decode = graph->second;
    pack_inputs(batch, decode.layout, scratch_block_, pinned_inputs_.get());
    device_->copy_to_device(inputs_.get(), pinned_inputs_.get(), decode.layout.bytes);
    decode.work->launch();
  }
  const auto rows = static_cast<int32_t>(batch.wanted_rows.size());
  whole_rows_.clear();
  for (int32_t row = 0; row < rows; ++row) {
    if (batch.shortlists.empty() || batch.shortlists[static_cast<size_t>(row)].count == 0)
      whole_rows_.push_back(row);
  }
  shortlists_->enqueue(batch.shortlists, logits_.get(), graph_.vocab_size);
  copy_logits(whole_rows_);
  finish();
  gather_logits(whole_rows_, logits);
  shortlists_->collect(graph_.vocab_begin);
  if (options_.profile) {
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - from;
    times_[graph == decode_.end() ? "step" : "captured step"] += elapsed.count();
  }
}

ShardShortlist TensorRtModel::shortlist(int32_t row) const {
  return shortlists_->of_row(row);
}

void TensorRtModel::fetch_logits(std::span<const int32_t> rows, float* logits) {
  copy_logits(rows);
  finish();
  gather_logits(rows, logits);
}

// Through pinned memory, since `logits` is not.
void TensorRtModel::copy_logits(std::span<const int32_t> rows) {
  const size_t row_bytes = static_cast<size_t>(graph_.vocab_size) * sizeof(float);
  for_each_run(rows, [&](size_t first, size_t count) {
    device_->copy_to_host(pinned_logits_.get() + first * row_bytes, logits_.get() + first * row_bytes,
                          count * row_bytes);
  });
}

void TensorRtModel::gather_logits(std::span<const int32_t> rows, float* logits) {
  const auto* own = reinterpret_cast<const float*>(pinned_logits_.get());
  const auto gather = [&](size_t first, size_t count) {
    const auto row = static_cast<int64_t>(first);
    group_.gather_columns(own + row * graph_.vocab_size, static_cast<int64_t>(count), graph_.vocab_size,
                          graph_.vocab_begin, logits + row * graph_.config.vocab, graph_.config.vocab);
  };
  if (rows.empty()) return gather(0, 0);  // that all ranks have come is still of use
  for_each_run(rows, gather);
}

// TensorRT loads kernels lazily, and a context has work to do when it first sees a shape: done here, and not
// on a user's clock. It must also have run before it is captured.
void TensorRtModel::warm_up() {
  const int most = std::min(options_.max_tokens, options_.max_context);
  for (const int wished : {most, kWarmUpTokens}) {
    const int tokens = std::min({wished, most, options_.kv_blocks * kBlockTokens});
    if (tokens < 1) return;
    const std::vector<int32_t> ids(static_cast<size_t>(tokens), 0);
    std::vector<int32_t> positions(ids.size());
    std::iota(positions.begin(), positions.end(), 0);
    std::vector<int32_t> blocks(static_cast<size_t>((tokens + kBlockTokens - 1) / kBlockTokens));
    std::iota(blocks.begin(), blocks.end(), 0);
    const StepBatch::Sequence sequence{0, tokens, 0, blocks};
    const int32_t last = tokens - 1;
    const ShortlistRequest request{kMaxShortlist, true};
    run_together([&] {
      run_plain({ids, positions, {&sequence, 1}, {&last, 1}});
      shortlists_->enqueue({&request, 1}, logits_.get(), graph_.vocab_size);
    });
  }
}

// The largest first, so that want of memory shows at once. A context for each: one that sees another shape
// may change what its captured work reads.
void TensorRtModel::capture_decode() {
  const std::vector<int64_t> buckets = decode_buckets(options_.max_sequences);
  for (auto bucket = buckets.rbegin(); bucket != buckets.rend(); ++bucket) {
    if (options_.cancelled != nullptr && *options_.cancelled)
      throw Error("ERR_ABORTED", "loading was aborted");
    DecodeGraph graph{InputLayout(*bucket, *bucket, *bucket, table_blocks_), make_context(Phase::Decode), {}};
    bind(*graph.context, graph.layout);
    // Of padding alone.
    pack_inputs({}, graph.layout, scratch_block_, pinned_inputs_.get());
    device_->copy_to_device(inputs_.get(), pinned_inputs_.get(), graph.layout.bytes);
    run_together([&] { graph.context->enqueue(); });
    try {
      graph.work = device_->capture([&] { graph.context->enqueue(); });
    } catch (const Error& error) {
      throw Error(error.code(), "a decode step of " + std::to_string(*bucket) +
                                    " sequences cannot be captured as a CUDA graph: " + error.what() +
                                    "; KRAKEN_CUDA_GRAPHS=0 does without, and decodes more slowly");
    }
    decode_.emplace(*bucket, std::move(graph));
  }
  group_.barrier();  // whoever is loaded may begin a step
}

void TensorRtModel::run_products(int, float*) {
  throw Error("ERR_OPTION", "backend tensorrt does not time matrix products alone");
}

void TensorRtModel::read_weights() {
  throw Error("ERR_OPTION", "backend tensorrt does not time reading weights alone");
}

RankMemory TensorRtModel::memory() const {
  return memory_;
}

std::map<std::string, double> TensorRtModel::take_profile() {
  return std::exchange(times_, {});
}

CollectiveTimes TensorRtModel::collective_times() const {
  const CollectiveTimes all = tensorrt::collective_times(plugins_, *communicator_);
  const CollectiveTimes& before = before_serving_;
  return {all.exposed - before.exposed, all.collective - before.collective, all.hidden - before.hidden,
          all.exchanges - before.exchanges};
}

}  // namespace kraken::tensorrt
