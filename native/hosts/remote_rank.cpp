#include "hosts/remote_rank.h"

#include <omp.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <new>
#include <utility>

#include "base/error.h"
#include "comm/tcp/handshake.h"
#include "comm/tcp/tcp_communicator.h"
#include "hosts/engine_manifest.h"
#include "hosts/host_messages.h"
#include "hosts/host_threads.h"
#include "hosts/loss_watch.h"
#include "runtime/rank_source.h"

namespace kraken {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto kSecretPatience = 10s, kConnectPatience = 15s, kHandshakePatience = 5s, kPeerPatience = 15s;
constexpr auto kAttempt = 1s;
constexpr auto kJoinPatience = 60s;  // rank 0 waits for the slowest host meanwhile
constexpr size_t kMostJoinBytes = 16 << 20;
constexpr unsigned kSecondsToEnd = 2;  // then the system ends a rank that is lost and still computes

// Byte for byte: what follows the line belongs to nobody, and more may never come.
std::string first_line_of_input() {
  std::string line;
  const auto deadline = steady_clock::now() + kSecretPatience;
  while (line.size() < 4096) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now());
    pollfd polled{STDIN_FILENO, POLLIN, 0};
    char byte = 0;
    if (left.count() <= 0 || poll(&polled, 1, static_cast<int>(left.count())) <= 0) break;
    if (::read(STDIN_FILENO, &byte, 1) != 1 || byte == '\n') break;
    line += byte;
  }
  return line;
}

bool input_has_ended() {
  pollfd polled{STDIN_FILENO, POLLIN, 0};
  char byte = 0;
  return poll(&polled, 1, 0) > 0 && ::read(STDIN_FILENO, &byte, 1) <= 0;
}

// Rank 0 may be gone before this rank could meet it, and nobody else ends this one.
Descriptor connect_to_rank_zero(const RemoteRankOptions& options) {
  const auto deadline = steady_clock::now() + kConnectPatience;
  for (;;) {
    try {
      return connect_to(options.host, options.port, std::min(deadline, steady_clock::now() + kAttempt));
    } catch (const Error&) {
      if (steady_clock::now() >= deadline || (options.has_input && input_has_ended())) throw;
    }
  }
}

class RemoteRank {
 public:
  explicit RemoteRank(const RemoteRankOptions& options)
      : options_(options),
        rank_zero_("rank 0 (" + endpoint(options.host, options.port) + ")"),
        control_(connect_to_rank_zero(options)),
        listener_(listen_on(local_address(control_))) {}

  void run() {
    shake_hands_with_rank_zero();
    const std::vector<uint8_t> message =
        receive_message(control_, kMostJoinBytes, steady_clock::now() + kJoinPatience, rank_zero_);
    auto [type, reader] = open_frame(message);
    if (type != MessageType::Join) garbled("rank 0 did not say what to join");
    join_ = read_join(reader);
    join_.options.secret = options_.secret;
    try {
      check_engine();
      meet_others();
      send_message(control_, Frame(MessageType::Joined).take(), steady_clock::now() + kHandshakePatience,
                   rank_zero_);
    } catch (const Error& error) {
      send_message(control_, Frame(MessageType::Failed, Failure{error.code(), error.what()}).take(),
                   steady_clock::now() + kHandshakePatience, rank_zero_);
      throw;
    }
    peers_[0] = {std::move(control_), endpoint(join_.options.hosts[0], options_.port)};
    serve();
  }

 private:
  HostIdentity own_identity() const {
    HostIdentity identity;
    identity.hello.build = build_id();
    identity.rank = options_.rank;
    identity.port = listener_.port;
    return identity;
  }

  void shake_hands_with_rank_zero() {
    const HostIdentity theirs = read_identity(
        shake_hands(control_, HandshakeRole::Connects, options_.secret, bytes_of(own_identity()),
                    steady_clock::now() + kHandshakePatience, rank_zero_));
    check_hello(theirs.hello);
  }

  void check_engine() {
    const std::string& directory = join_.options.directory;
    manifest_ = read_engine_manifest(directory);
    if (manifest_.digest != join_.engine_digest) {
      throw Error("ERR_ENGINE_CORRUPT", directory +
                                            " is another engine than rank 0's: put the engine there again "
                                            "(kraken build --push)");
    }
    check_size(directory, manifest_, file_name());
  }

  std::string file_name() const { return "rank" + std::to_string(options_.rank) + ".engine"; }

  // Connects to the ranks below, waits for those above.
  void meet_others() {
    const int ranks = join_.options.ranks;
    if (options_.rank < 1 || options_.rank >= ranks) garbled("a rank that the engine does not have");
    peers_.resize(static_cast<size_t>(ranks));
    const auto deadline = steady_clock::now() + kPeerPatience;
    const auto name_of = [&](int rank) {
      const auto index = static_cast<size_t>(rank);
      return endpoint(join_.options.hosts[index], static_cast<uint16_t>(join_.ports[index]));
    };
    for (int rank = 1; rank < options_.rank; ++rank) {
      const auto index = static_cast<size_t>(rank);
      Descriptor socket =
          connect_to(join_.addresses[index], static_cast<uint16_t>(join_.ports[index]), deadline);
      shake_hands(socket, HandshakeRole::Connects, options_.secret, bytes_of(own_identity()), deadline,
                  name_of(rank));
      peers_[index] = {std::move(socket), name_of(rank)};
    }
    for (int missing = ranks - 1 - options_.rank; missing > 0; --missing) {
      std::optional<Accepted> accepted = accept_from(listener_, deadline);
      if (!accepted) throw Error("ERR_HOSTS", "not all ranks could connect to this one: is a port filtered?");
      const int rank = read_identity(shake_hands(accepted->socket, HandshakeRole::Accepts, options_.secret,
                                                 bytes_of(own_identity()), deadline,
                                                 "a connection from " + accepted->address))
                           .rank;
      if (rank <= options_.rank || rank >= ranks || peers_[static_cast<size_t>(rank)].socket.get() >= 0) {
        garbled("a second rank " + std::to_string(rank));
      }
      peers_[static_cast<size_t>(rank)] = {std::move(accepted->socket), name_of(rank)};
    }
  }

  void serve() {
    TcpGroupOptions group;
    group.communication = join_.options.communication;
    group.wire = join_.options.exchange_dtype == DType::BFloat16 ? WireFormat::BFloat16 : WireFormat::Float32;
    LossWatch loss_watch;
    group.on_lost = [&](int lost_rank) {
      cancelled_ = true;
      alarm(kSecondsToEnd);
      loss_watch.lost(lost_rank);
    };
    TcpCommunicator communicator(options_.rank, std::move(peers_), group);
    std::unique_ptr<RankModel> model;
    // Before the model ends, which waits for its device, and the device for the others.
    const auto fail = [&](const Failure& failure) {
      communicator.post(0, Frame(MessageType::Failed, failure).take());
      communicator.abort(failure.message);
      if (model) model->abort(options_.rank);
      loss_watch.watch(nullptr);
    };
    try {
      const Backend& backend = available_backend(join_.options.backend);
      communicator.post(0, rank_room(room_of(join_.options, backend, options_.rank)));
      if (!receive_limits(communicator)) return;
      model = load(backend, communicator);
      loss_watch.watch(model.get());
      model->prepare();
      communicator.post(0, bytes_of(model->memory()));
      while (const auto message = communicator.receive(0)) obey(*message, *model, communicator);
      loss_watch.watch(nullptr);
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

  // False: rank 0 has left.
  bool receive_limits(TcpCommunicator& communicator) {
    const auto message = communicator.receive(0);
    if (!message) return false;
    auto [type, reader] = open_frame(*message);
    if (type != MessageType::Limits) garbled("rank 0 did not say within which limits");
    limits_ = read_limits(reader);
    return true;
  }

  // The file is hashed while its weights are packed.
  std::unique_ptr<RankModel> load(const Backend& backend, TcpCommunicator& communicator) {
    std::future<void> verified;
    if (join_.options.verify) {
      verified = std::async(std::launch::async, [this] {
        check_hash(join_.options.directory, manifest_, file_name(), cancelled_);
      });
    }
    const ModelConfig model = parse_model_config(join_.options.model_config);
    limits_.threads_per_rank = host_threads(join_.options, options_.rank);
    omp_set_num_threads(limits_.threads_per_rank);
    factory_ = make_rank_factory(backend, make_rank_source(join_.options, model, options_.rank), limits_,
                                 join_.options, &cancelled_);
    std::unique_ptr<RankModel> compiled = factory_(communicator);
    if (verified.valid()) verified.get();
    logits_ =
        std::make_unique<float[]>(static_cast<size_t>(limits_.max_rows) * static_cast<size_t>(limits_.vocab));
    return compiled;
  }

  void obey(const std::vector<uint8_t>& message, RankModel& model, TcpCommunicator& communicator) {
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

  const RemoteRankOptions options_;
  const std::string rank_zero_;
  Descriptor control_;
  const Listener listener_;
  Join join_;
  LocalExecutorConfig limits_;
  EngineManifest manifest_;
  std::vector<TcpPeer> peers_;
  std::atomic<bool> cancelled_{false};
  RankModelFactory factory_;         // outlives the model
  std::unique_ptr<float[]> logits_;  // [max_rows, V]; what no rank but the first reads
  ReceivedStep step_;
};

// Throws ERR_OPTION.
RemoteRankOptions parse_arguments(int argc, char** argv) {
  RemoteRankOptions options;
  const auto usage = [] {
    throw Error("ERR_OPTION", "a rank is started with --rank N --connect HOST:PORT, by kraken-engine");
  };
  if (argc != 5 || std::string(argv[1]) != "--rank" || std::string(argv[3]) != "--connect") usage();
  const std::string address = argv[4];
  const size_t colon = address.rfind(':');
  char* end = nullptr;
  options.rank = static_cast<int>(std::strtol(argv[2], &end, 10));
  if (*argv[2] == '\0' || *end != '\0' || options.rank < 1 || colon == std::string::npos) usage();
  options.host = address.substr(0, colon);
  if (options.host.size() > 2 && options.host.front() == '[' && options.host.back() == ']') {
    options.host = options.host.substr(1, options.host.size() - 2);
  }
  const long port = std::strtol(address.c_str() + colon + 1, &end, 10);
  if (*end != '\0' || port < 1 || port > 65535) usage();
  options.port = static_cast<uint16_t>(port);
  options.secret = first_line_of_input();
  options.has_input = !options.secret.empty();
  const char* named = std::getenv("KRAKEN_SECRET");
  if (options.secret.empty() && named != nullptr) options.secret = named;
  if (options.secret.empty()) {
    throw Error("ERR_OPTION", "the secret is missing: the first line of standard input, or KRAKEN_SECRET");
  }
  return options;
}

}  // namespace

void run_remote_rank(const RemoteRankOptions& options) {
  RemoteRank(options).run();
}

int remote_rank_main(int argc, char** argv) {
  signal(SIGINT, SIG_IGN);  // Ctrl-C is for rank 0 to handle
  signal(SIGPIPE, SIG_IGN);
  RemoteRankOptions options;
  try {
    options = parse_arguments(argc, argv);
  } catch (const Error& error) {
    std::fprintf(stderr, "kraken-worker: %s\n", error.what());
    return 1;
  }
  try {
    run_remote_rank(options);
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "kraken-worker, rank %d: %s: %s\n", options.rank, error.code().c_str(),
                 error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kraken-worker, rank %d: %s\n", options.rank, error.what());
  }
  return 2;
}

}  // namespace kraken
