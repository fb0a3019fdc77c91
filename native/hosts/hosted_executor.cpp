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

// What another rank has said of itself.
struct RankFailure : Error {
  using Error::Error;
};

// Reads what a rank has sent of that type. Throws RankFailure for the failure that it has sent instead.
template <typename Read>
auto receive_from(FramedCommunicator& communicator, const HostedRanks& ranks, int rank, MessageType expected,
                  const Read& read) {
  const std::optional<std::vector<uint8_t>> message = communicator.receive(rank);
  if (!message) throw Error("ERR_RANK_LOST", ranks.name_of(rank) + " left while others waited for it");
  auto [type, reader] = open_frame(*message);
  if (type == MessageType::Failed) {
    Failure failure;
    read_all(reader, failure);
    throw RankFailure(failure.code, ranks.name_of(rank) + ": " + failure.message);
  }
  if (type != expected) garbled("not what rank 0 waits for");
  return read(reader);
}

// The failure among what a rank has sent, of a group that is lost: nothing more comes.
std::optional<Failure> failure_of(FramedCommunicator& communicator, int rank) {
  try {
    while (const auto message = communicator.receive(rank)) {
      auto [type, reader] = open_frame(*message);
      if (type != MessageType::Failed) continue;
      Failure failure;
      read_all(reader, failure);
      return failure;
    }
  } catch (const Error&) {  // that was all
  }
  return std::nullopt;
}

// Calls what rank 0 does with the others, or waits for of them. Whatever fails ends the group at once; `end`
// does so on this rank's device. A rank that fails says why and then ends the group, which fails whatever
// this one is doing, on the host or on its device: the first reason is thrown.
template <typename Call, typename End>
void guarded(FramedCommunicator& communicator, const HostedRanks& ranks, const Call& call, const End& end) {
  std::string lost, failed;
  try {
    return call();
  } catch (const std::exception& error) {
    lost = communicator.lost_because();
    failed = error.what();
    communicator.abort(failed);
    end();
    const auto* said = dynamic_cast<const RankFailure*>(&error);
    if (lost.empty() || (said != nullptr && said->code() != "ERR_RANK_LOST")) throw;
  }
  for (int rank = 1; rank < communicator.size(); ++rank) {
    const std::optional<Failure> failure = failure_of(communicator, rank);
    if (!failure || failure->code == "ERR_RANK_LOST") continue;
    throw Error(failure->code, ranks.name_of(rank) + ": " + failure->message);
  }
  throw Error("ERR_RANK_LOST", failed.find(lost) == std::string::npos ? lost : failed);
}

class HostedModel final : public RankModel {
 public:
  HostedModel(FramedCommunicator& communicator, std::shared_ptr<HostedRanks> ranks)
      : communicator_(communicator), ranks_(std::move(ranks)) {}
  ~HostedModel() override {
    ranks_->loss_watch().watch(nullptr);
    own_.reset();
    communicator_.leave();
  }

  // With the others, which then say that they have loaded.
  void load(const RankModelFactory& own) {
    guarded([&] {
      own_ = own(communicator_);
      ranks_->loss_watch().watch(own_.get());
      own_->prepare();
      for (int rank = 1; rank < communicator_.size(); ++rank) {
        const RankMemory memory =
            receive_from(communicator_, *ranks_, rank, MessageType::RankLoaded, read_rank_memory);
        others_.weights += memory.weights;
        others_.kv_cache += memory.kv_cache;
        others_.activations += memory.activations;
      }
    });
  }

  void abort(int lost_rank) noexcept override { own_->abort(lost_rank); }

  void step(const StepBatch& batch, float* logits) override {
    guarded([&] {
      tell(bytes_of(batch));
      own_->step(batch, logits);
    });
  }

  void run_products(int tokens, float* logits) override {
    guarded([&] {
      tell(Frame(MessageType::Products, int32_t{tokens}).take());
      own_->run_products(tokens, logits);
      await_others();
    });
  }

  void read_weights() override {
    guarded([&] {
      tell(Frame(MessageType::ReadWeights).take());
      own_->read_weights();
      await_others();
    });
  }

  RankMemory memory() const override {
    const RankMemory own = own_->memory();
    return {own.weights + others_.weights, own.kv_cache + others_.kv_cache,
            own.activations + others_.activations};
  }

  std::map<std::string, double> take_profile() override { return own_->take_profile(); }
  CollectiveTimes collective_times() const override { return own_->collective_times(); }

 private:
  template <typename Call>
  void guarded(const Call& call) {
    kraken::guarded(communicator_, *ranks_, call, [this] {
      if (own_) own_->abort(communicator_.rank());
    });
  }

  void tell(const std::vector<uint8_t>& message) {
    for (int rank = 1; rank < communicator_.size(); ++rank) communicator_.post(rank, message);
  }

  void await_others() {
    for (int rank = 1; rank < communicator_.size(); ++rank) {
      receive_from(communicator_, *ranks_, rank, MessageType::RankDone, [](Reader& reader) { reader.end(); });
    }
  }

  FramedCommunicator& communicator_;
  const std::shared_ptr<HostedRanks> ranks_;
  std::unique_ptr<RankModel> own_;
  RankMemory others_;
};

RankModelFactory make_hosted_factory(RankModelFactory own, std::shared_ptr<HostedRanks> ranks) {
  return [own = std::move(own), ranks = std::move(ranks)](Communicator& communicator) {
    auto model = std::make_unique<HostedModel>(static_cast<FramedCommunicator&>(communicator), ranks);
    model->load(own);
    return model;
  };
}

// What each rank may still allocate, rank 0 included.
std::vector<size_t> rooms_of_ranks(const ExecutorOptions& options, const Backend& backend,
                                   FramedCommunicator& communicator, const HostedRanks& ranks) {
  std::vector<size_t> rooms;
  const auto gather = [&] {
    rooms.push_back(room_of(options, backend, 0));
    for (int rank = 1; rank < options.ranks; ++rank) {
      rooms.push_back(receive_from(communicator, ranks, rank, MessageType::RankRoom, [](Reader& reader) {
        uint64_t bytes = 0;
        read_all(reader, bytes);
        return static_cast<size_t>(bytes);
      }));
    }
  };
  guarded(communicator, ranks, gather, [] {});
  return rooms;
}

// As many blocks as every rank has room for.
LocalExecutorConfig decide_hosted_limits(const ExecutorOptions& options, const ModelConfig& model,
                                         const Backend& backend, const EngineManifest& manifest,
                                         const std::vector<size_t>& rooms, const HostedRanks& ranks) {
  LocalExecutorConfig decided;
  ExecutorOptions own = options;
  own.threads_per_rank = host_threads(options, 0);
  for (int rank = 0; rank < options.ranks; ++rank) {
    const auto source = make_rank_source(options, model, rank);
    const auto file = manifest.files.find("rank" + std::to_string(rank) + ".engine");
    ModelSizes sizes = sizes_without_ranks(model, backend);
    add_rank(sizes, *source, backend, options.dtype, file == manifest.files.end() ? 0 : file->second.bytes);
    try {
      const LocalExecutorConfig config = decide_limits(own, sizes, rooms[static_cast<size_t>(rank)]);
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

FramedGroupOptions group_options(const ExecutorOptions& options, std::function<void(int rank)> on_lost) {
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
  std::unique_ptr<FramedCommunicator> communicator = ranks->join(manifest.digest);
  const std::vector<size_t> rooms = rooms_of_ranks(options, backend, *communicator, *ranks);
  const LocalExecutorConfig config = decide_hosted_limits(options, model, backend, manifest, rooms, *ranks);
  for (int rank = 1; rank < options.ranks; ++rank) communicator->post(rank, bytes_of(config));
  std::vector<std::unique_ptr<Communicator>> communicators;
  communicators.push_back(std::move(communicator));
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
