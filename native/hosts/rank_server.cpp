#include "hosts/rank_server.h"

#include <omp.h>

#include <future>
#include <new>
#include <utility>

#include "base/error.h"
#include "hosts/host_threads.h"
#include "runtime/rank_source.h"

namespace kraken {

RankServer::RankServer(Join join, int rank) : join_(std::move(join)), rank_(rank) {
  if (rank < 1 || rank >= join_.options.ranks) garbled("a rank that the engine does not have");
  const std::string& directory = join_.options.directory;
  manifest_ = read_engine_manifest(directory);
  if (manifest_.digest != join_.engine_digest) {
    throw Error("ERR_ENGINE_CORRUPT", directory +
                                          " is another engine than rank 0's: put the engine there again "
                                          "(kraken build --push)");
  }
  check_size(directory, manifest_, file_name());
}

void RankServer::serve(FramedCommunicator& communicator) {
  std::unique_ptr<RankModel> model;
  // Before the model ends, which waits for its device, and the device for the others.
  const auto fail = [&](const Failure& failure) {
    communicator.post(0, Frame(MessageType::Failed, failure).take());
    communicator.abort(failure.message);
    if (model) model->abort(rank_);
    loss_watch_.watch(nullptr);
  };
  try {
    const Backend& backend = available_backend(join_.options.backend);
    communicator.post(0, rank_room(room_of(join_.options, backend, rank_)));
    if (!receive_limits(communicator)) return;
    model = load(backend, communicator);
    loss_watch_.watch(model.get());
    model->prepare();
    communicator.post(0, bytes_of(model->memory()));
    while (const auto message = communicator.receive(0)) obey(*message, *model, communicator);
    loss_watch_.watch(nullptr);
  } catch (const Error& error) {
    fail({error.code(), error.what()});
    throw;
  } catch (const std::bad_alloc&) {
    fail({"ERR_OUT_OF_MEMORY", "not enough memory"});
    throw;
  } catch (const std::exception& error) {
    fail({"ERR_INTERNAL", error.what()});
    throw;
  }
}

bool RankServer::receive_limits(FramedCommunicator& communicator) {
  const auto message = communicator.receive(0);
  if (!message) return false;
  auto [type, reader] = open_frame(*message);
  if (type != MessageType::Limits) garbled("rank 0 did not say within which limits");
  limits_ = read_limits(reader);
  return true;
}

// The file is hashed while its weights are packed.
std::unique_ptr<RankModel> RankServer::load(const Backend& backend, FramedCommunicator& communicator) {
  std::future<void> verified;
  if (join_.options.verify) {
    verified = std::async(std::launch::async, [this] {
      check_hash(join_.options.directory, manifest_, file_name(), cancelled_);
    });
  }
  const ModelConfig model = parse_model_config(join_.options.model_config);
  limits_.threads_per_rank = host_threads(join_.options, rank_);
  omp_set_num_threads(limits_.threads_per_rank);
  factory_ = make_rank_factory(backend, make_rank_source(join_.options, model, rank_), limits_, join_.options,
                               &cancelled_);
  std::unique_ptr<RankModel> compiled = factory_(communicator);
  if (verified.valid()) verified.get();
  logits_ =
      std::make_unique<float[]>(static_cast<size_t>(limits_.max_rows) * static_cast<size_t>(limits_.vocab));
  return compiled;
}

void RankServer::obey(const std::vector<uint8_t>& message, RankModel& model,
                      FramedCommunicator& communicator) {
  auto [type, reader] = open_frame(message);
  switch (type) {
    case MessageType::Step:
      return model.step(step_.read(reader, limits_), logits_.get());
    case MessageType::Products: {
      int32_t tokens = 0;
      read_all(reader, tokens);
      if (tokens < 1 || tokens > limits_.max_step_tokens) garbled("products beyond the limits");
      model.run_products(tokens, logits_.get());
      return communicator.post(0, Frame(MessageType::RankDone).take());
    }
    case MessageType::ReadWeights:
      model.read_weights();
      return communicator.post(0, Frame(MessageType::RankDone).take());
    default:
      garbled("type " + std::to_string(static_cast<int>(type)) + " is not for a rank");
  }
}

}  // namespace kraken
