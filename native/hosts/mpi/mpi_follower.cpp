#include "hosts/mpi/mpi_follower.h"

#include <cstdio>
#include <list>
#include <memory>
#include <thread>

#include "base/error.h"
#include "comm/mpi/mpi_communicator.h"
#include "hosts/mpi/mpi_ranks.h"
#include "hosts/rank_server.h"

namespace kraken {
namespace {

// One engine's rank, on a thread of its own.
class ServedEngine {
 public:
  ServedEngine(const MpiWorld& world, int number, std::unique_ptr<RankServer> server)
      : server_(std::move(server)),
        communicator_(make_mpi_communicator(
            world.rank(), world.hosts(), mpi_channel(world, number),
            group_options(server_->join().options, [this](int lost_rank) { server_->lost(lost_rank); }))) {
    thread_ = std::thread([this, rank = world.rank()] {
      try {
        server_->serve(*communicator_);
      } catch (const Error& error) {  // rank 0 knows
        std::fprintf(stderr, "kraken-worker-mpi, rank %d: %s: %s\n", rank, error.code().c_str(),
                     error.what());
      } catch (const std::exception& error) {
        std::fprintf(stderr, "kraken-worker-mpi, rank %d: %s\n", rank, error.what());
      }
      communicator_->leave();
      over_ = true;
    });
  }
  ~ServedEngine() { thread_.join(); }
  bool over() const { return over_; }

 private:
  const std::unique_ptr<RankServer> server_;
  const std::unique_ptr<FramedCommunicator> communicator_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

HostIdentity own_identity(const MpiWorld& world) {
  HostIdentity identity;
  identity.hello.build = build_id();
  identity.rank = world.rank();
  return identity;
}

std::unique_ptr<RankServer> join(Reader& reader, const MpiWorld& world, FramedCommunicator& control) {
  try {
    auto server = std::make_unique<RankServer>(read_join(reader), world.rank());
    control.post(0, Frame(MessageType::Joined).take());
    return server;
  } catch (const Error& error) {
    control.post(0, Frame(MessageType::Failed, Failure{error.code(), error.what()}).take());
    return nullptr;
  }
}

}  // namespace

void follow_rank_zero(const MpiWorld& world, FramedCommunicator& control) {
  std::list<ServedEngine> engines;
  std::unique_ptr<RankServer> joined;  // until rank 0 says that all have
  while (const auto message = control.receive(0)) {
    engines.remove_if([](const ServedEngine& engine) { return engine.over(); });
    auto [type, reader] = open_frame(*message);
    switch (type) {
      case MessageType::Describe:
        reader.end();
        control.post(0, bytes_of(own_identity(world)));
        break;
      case MessageType::Join:
        joined = join(reader, world, control);
        break;
      case MessageType::Begin: {
        int32_t number = 0;
        read_all(reader, number);
        if (!joined) garbled("nothing to begin with");
        engines.emplace_back(world, number, std::move(joined));
        break;
      }
      default:
        garbled("type " + std::to_string(static_cast<int>(type)) + " is not for a rank");
    }
  }
}

}  // namespace kraken
