#include "hosts/rank_server.h"

#include <omp.h>

#include <future>
#include <new>
#include <utility>

#include "base/error.h"
#include "hosts/host_threads.h"
#include "runtime/rank_source.h"

namespace kraken {
namespace {

void fail(FramedCommunicator& communicator, const Failure& failure) {
  communicator.post(0, Frame(MessageType::Failed, failure).take());
  communicator.abort(failure.message);
}

}  // namespace

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
  try {
    std::unique_ptr<RankModel> model = load(communicator);
    model->prepare();
    communicator.post(0, bytes_of(model->memory()));
    while (const auto message = communicator.receive(0)) obey(*message, *model, communicator);
  } catch (const Error& error) {
    fail(communicator, {error.code(), error.what()});
    throw;
  } catch (const std::bad_alloc&) {
    fail(communicator, {"ERR_OUT_OF_MEMORY", "not enough memory"});
    throw;
  } catch (const std::exception& error) {
    fail(communicator, {"ERR_INTERNAL", error.what()});
    throw;
  }
}

// The file is hashed while its weights are packed.
std::unique_ptr<RankModel> RankServer::load(FramedCommunicator& communicator) {
  std::future<void> verified;
  if (join_.options.verify) {
    verified = std::async(std::launch::async, [this] {
      check_hash(join_.options.directory, manifest_, file_name(), cancelled_);
    });
  }
  const ModelConfig model = parse_model_config(join_.options.model_config);
  const Backend& backend = available_backend(join_.options.backend);
  join_.config.threads_per_rank = host_threads(join_.options, rank_);
  omp_set_num_threads(join_.config.threads_per_rank);
  std::unique_ptr<RankModel> compiled =
      make_rank_factory(backend, make_rank_source(join_.options, model, rank_), join_.config, join_.options,
                        &cancelled_)(communicator);
  if (verified.valid()) verified.get();
  logits_ = std::make_unique<float[]>(static_cast<size_t>(join_.config.max_rows) *
                                      static_cast<size_t>(join_.config.vocab));
  return compiled;
}

void RankServer::obey(const std::vector<uint8_t>& message, RankModel& model,
                      FramedCommunicator& communicator) {
  auto [type, reader] = open_frame(message);
  switch (type) {
    case MessageType::Step:
      return model.step(step_.read(reader, join_.config), logits_.get());
    case MessageType::Products: {
      int32_t tokens = 0;
      read_all(reader, tokens);
      if (tokens < 1 || tokens > join_.config.max_step_tokens) garbled("products beyond the limits");
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
