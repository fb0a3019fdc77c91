#include "hosts/remote_rank.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <utility>

#include "base/error.h"
#include "comm/tcp/handshake.h"
#include "comm/tcp/tcp_communicator.h"
#include "hosts/hosted_ranks.h"
#include "hosts/rank_server.h"

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
    std::optional<RankServer> server;
    try {
      Join join = read_join(reader);
      join.options.secret = options_.secret;
      server.emplace(std::move(join), options_.rank);
      meet_others(server->join());
      send_message(control_, Frame(MessageType::Joined).take(), steady_clock::now() + kHandshakePatience,
                   rank_zero_);
    } catch (const Error& error) {
      send_message(control_, Frame(MessageType::Failed, Failure{error.code(), error.what()}).take(),
                   steady_clock::now() + kHandshakePatience, rank_zero_);
      throw;
    }
    peers_[0] = {std::move(control_), endpoint(server->join().options.hosts[0], options_.port)};
    const auto communicator = make_tcp_communicator(options_.rank, std::move(peers_),
                                                    group_options(server->join().options, [&](int lost_rank) {
                                                      alarm(kSecondsToEnd);
                                                      server->lost(lost_rank);
                                                    }));
    server->serve(*communicator);
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

  // Connects to the ranks below, waits for those above.
  void meet_others(const Join& join) {
    const int ranks = join.options.ranks;
    peers_.resize(static_cast<size_t>(ranks));
    const auto deadline = steady_clock::now() + kPeerPatience;
    const auto name_of = [&](int rank) {
      const auto index = static_cast<size_t>(rank);
      return endpoint(join.options.hosts[index], static_cast<uint16_t>(join.ports[index]));
    };
    for (int rank = 1; rank < options_.rank; ++rank) {
      const auto index = static_cast<size_t>(rank);
      Descriptor socket =
          connect_to(join.addresses[index], static_cast<uint16_t>(join.ports[index]), deadline);
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

  const RemoteRankOptions options_;
  const std::string rank_zero_;
  Descriptor control_;
  const Listener listener_;
  std::vector<TcpPeer> peers_;
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
