// The runtime sees one rank. Its model is a HostedModel, which tells the others what to run before it runs it
// itself, so scheduling and sampling know nothing of hosts.
#include "hosts/hosted_executor.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "hosts/engine_manifest.h"
#include "hosts/host_group.h"
#include "hosts/host_messages.h"
#include "hosts/host_threads.h"
#include "runtime/rank_source.h"

namespace kraken {
namespace {

// What other ranks have sent of that type, or the failure they have sent instead.
RankMemory receive_loaded(FramedCommunicator& communicator, const HostedRanks& ranks, int rank) {
  const std::optional<std::vector<uint8_t>> message = communicator.receive(rank);
  if (!message) throw Error("ERR_RANK_LOST", ranks.name_of(rank) + " left while it loaded");
  auto [type, reader] = open_frame(*message);
  if (type == MessageType::Failed) {
    Failure failure;
    read_all(reader, failure);
    throw Error(failure.code, ranks.name_of(rank) + ": " + failure.message);
  }
  if (type != MessageType::RankLoaded) garbled("a rank that has not loaded");
  return read_rank_memory(reader);
}

class HostedModel final : public RankModel {
 public:
  HostedModel(std::unique_ptr<RankModel> own, FramedCommunicator& communicator, const RankMemory& others)
      : own_(std::move(own)), communicator_(communicator), others_(others) {}
  ~HostedModel() override {
    own_.reset();
    communicator_.leave();
  }

  void abort(int lost_rank) noexcept override { own_->abort(lost_rank); }

  void step(const StepBatch& batch, float* logits) override {
    tell(bytes_of(batch));
    own_->step(batch, logits);
  }

  void run_products(int tokens, float* logits) override {
    tell(Frame(MessageType::Products, int32_t{tokens}).take());
    own_->run_products(tokens, logits);
    await_others();
  }

  void read_weights() override {
    tell(Frame(MessageType::ReadWeights).take());
    own_->read_weights();
    await_others();
  }

  RankMemory memory() const override {
    const RankMemory own = own_->memory();
    return {own.weights + others_.weights, own.kv_cache + others_.kv_cache,
            own.activations + others_.activations};
  }

  std::map<std::string, double> take_profile() override { return own_->take_profile(); }

 private:
  void tell(const std::vector<uint8_t>& message) {
    for (int rank = 1; rank < communicator_.size(); ++rank) communicator_.post(rank, message);
  }

  void await_others() {
    for (int rank = 1; rank < communicator_.size(); ++rank) {
      const auto message = communicator_.receive(rank);
      if (!message || open_frame(*message).first != MessageType::RankDone) garbled("not what was asked for");
    }
  }

  std::unique_ptr<RankModel> own_;
  FramedCommunicator& communicator_;
  const RankMemory others_;
};

// A rank that fails to load says why, and then aborts, which fails this one as well: its reason counts.
[[noreturn]] void rethrow_first_cause(FramedCommunicator& communicator, const HostedRanks& ranks,
                                      const Error& error) {
  if (error.code() != "ERR_RANK_LOST") throw error;
  for (int rank = 1; rank < communicator.size(); ++rank) {
    try {
      receive_loaded(communicator, ranks, rank);
    } catch (const Error& cause) {
      if (cause.code() != "ERR_RANK_LOST") throw;
    }
  }
  throw error;
}

RankModelFactory make_hosted_factory(RankModelFactory own, std::shared_ptr<HostedRanks> ranks) {
  return [own = std::move(own), ranks = std::move(ranks)](Communicator& given) {
    auto& communicator = static_cast<FramedCommunicator&>(given);
    try {
      std::unique_ptr<RankModel> model = own(communicator);
      model->prepare();  // with the others, which then say that they have loaded
      RankMemory others;
      for (int rank = 1; rank < communicator.size(); ++rank) {
        const RankMemory memory = receive_loaded(communicator, *ranks, rank);
        others.weights += memory.weights;
        others.kv_cache += memory.kv_cache;
        others.activations += memory.activations;
      }
      return std::make_unique<HostedModel>(std::move(model), communicator, others);
    } catch (const Error& error) {
      rethrow_first_cause(communicator, *ranks, error);
    }
  };
}

// As many blocks as every host has room for.
LocalExecutorConfig decide_hosted_limits(const ExecutorOptions& options, const ModelConfig& model,
                                         const Backend& backend, const EngineManifest& manifest,
                                         const HostedRanks& ranks) {
  LocalExecutorConfig decided;
  ExecutorOptions own = options;
  own.threads_per_rank = host_threads(options, 0);
  for (int rank = 0; rank < options.ranks; ++rank) {
    const auto source = make_rank_source(options, model, rank);
    const auto file = manifest.files.find("rank" + std::to_string(rank) + ".engine");
    ModelSizes sizes = sizes_without_ranks(model, backend);
    add_rank(sizes, *source, backend, options.dtype, file == manifest.files.end() ? 0 : file->second.bytes);
    const size_t available = rank == 0 ? available_memory() : ranks.available_memory(rank);
    try {
      const LocalExecutorConfig config = decide_limits(own, sizes, available);
      if (rank == 0 || config.kv_blocks < decided.kv_blocks) decided = config;
    } catch (const Error& error) {
      throw Error(error.code(), ranks.name_of(rank) + ": " + error.what());
    }
  }
  return decided;
}

std::unique_ptr<HostedRanks> start_ranks(const ExecutorOptions& options, const std::atomic<bool>* cancelled) {
  return std::make_unique<HostGroup>(options, cancelled);
}

}  // namespace

FramedGroupOptions group_options(const ExecutorOptions& options, std::function<void()> on_lost) {
  FramedGroupOptions group;
  group.communication = options.communication;
  group.wire = options.exchange_dtype == DType::BFloat16 ? WireFormat::BFloat16 : WireFormat::Float32;
  group.on_lost = std::move(on_lost);
  return group;
}

std::unique_ptr<Executor> make_hosted_executor(const ExecutorOptions& options, const MeetRanks& meet,
                                               ResponseSink sink, const std::atomic<bool>* cancelled,
                                               QueueObserver observer) {
  const ModelConfig model = parse_model_config(options.model_config);
  const Backend& backend = available_backend(options.backend);
  const EngineManifest manifest = read_engine_manifest(options.directory);
  std::shared_ptr<HostedRanks> ranks = meet(options, cancelled);
  const LocalExecutorConfig config = decide_hosted_limits(options, model, backend, manifest, *ranks);
  std::vector<std::unique_ptr<Communicator>> communicators;
  communicators.push_back(ranks->join(config, manifest.digest));
  std::vector<RankModelFactory> factories{make_hosted_factory(
      make_rank_factory(backend, make_rank_source(options, model, 0), config, options, cancelled), ranks)};
  return std::make_unique<LocalExecutor>(config, std::move(factories), std::move(communicators),
                                         std::move(sink), std::move(observer));
}

std::unique_ptr<Executor> make_executor(const ExecutorOptions& options, ResponseSink sink,
                                        const std::atomic<bool>* cancelled, QueueObserver observer) {
  return options.hosts.empty()
             ? make_local_executor(options, std::move(sink), cancelled, std::move(observer))
             : make_hosted_executor(options, start_ranks, std::move(sink), cancelled, std::move(observer));
}

}  // namespace kraken
