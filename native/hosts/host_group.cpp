#include "hosts/host_group.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "comm/tcp/handshake.h"
#include "runtime/limits.h"

namespace kraken {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto kHandshakePatience = 3s;  // others wait meanwhile
constexpr auto kJoinPatience = 20s;      // until a rank has looked at its engine and met the others
constexpr auto kLook = 50ms;             // whether a launch has failed, or loading was cancelled
constexpr auto kShortLook = 5ms;         // of each rank in turn
constexpr auto kFarewell = 1500ms;       // for ranks to end by themselves …
constexpr auto kLostFarewell = 600ms;    // … and when the group is lost: they have last words to say
constexpr size_t kMostAnswerBytes = 1 << 20;

}  // namespace

HostGroup::HostGroup(const ExecutorOptions& options, const std::atomic<bool>* cancelled)
    : options_(options),
      cancelled_(cancelled),
      secret_(options.secret.empty() ? random_secret() : options.secret),
      members_(options.hosts.size()) {
  KRAKEN_CHECK(options.hosts.size() == static_cast<size_t>(options.ranks));
  const Listener listener = listen_on(host(0));
  member(0).port = listener.port;
  launch(listener);
  meet(listener);
  ender_ = std::thread([this] { end_when_lost(); });
}

HostGroup::~HostGroup() {
  {
    std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  if (ender_.joinable()) ender_.join();
  for (Member& member : members_) member.socket = Descriptor();
  for (Member& member : members_) {
    if (member.launched) member.launched->end(kFarewell);
  }
}

void HostGroup::end_when_lost() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return lost_ || over_; });
  if (!lost_) return;
  for (Member& member : members_) {
    if (member.launched) member.launched->end(kLostFarewell);
  }
}

std::string HostGroup::name_of(int rank) const {
  const Member& member = members_[static_cast<size_t>(rank)];
  return "rank " + std::to_string(rank) + " (" +
         (member.port == 0 ? host(rank) : endpoint(host(rank), member.port)) + ")";
}

void HostGroup::throw_if_cancelled() const {
  if (cancelled_ != nullptr && *cancelled_) throw Error("ERR_ABORTED", "loading was aborted");
}

void HostGroup::launch(const Listener& listener) {
  for (int rank = 1; rank < options_.ranks; ++rank) {
    const std::vector<std::string> arguments{"--rank", std::to_string(rank), "--connect",
                                             endpoint(host(0), listener.port)};
    std::vector<std::string> command{options_.worker_path};
    command.insert(command.end(), arguments.begin(), arguments.end());
    if (host(rank) != host(0)) {
      command = launch_command(options_.launch_agent, host(rank), options_.worker_path, arguments);
    }
    member(rank).launched = std::make_unique<LaunchedRank>(command, secret_);
  }
}

void HostGroup::meet(const Listener& listener) {
  const auto patience = std::chrono::milliseconds(static_cast<int64_t>(options_.start_seconds * 1000));
  const auto deadline = steady_clock::now() + patience;
  const auto missing = [&] {
    for (int rank = 1; rank < options_.ranks; ++rank) {
      if (member(rank).socket.get() < 0) return rank;
    }
    return 0;
  };
  while (const int rank = missing()) {
    throw_if_cancelled();
    std::optional<Accepted> accepted = accept_from(listener, steady_clock::now() + kLook);
    if (accepted) {
      welcome(std::move(*accepted));
      continue;
    }
    check_launched();
    if (steady_clock::now() < deadline) continue;
    throw Error("ERR_HOSTS", name_of(rank) + " has not connected to " + endpoint(host(0), listener.port) +
                                 " within " + std::to_string(patience.count()) + " ms" + refused_ +
                                 ": is the host up, and this one reachable from there under that name?");
  }
}

// A stranger is turned away, and is no reason to fail. A rank of ours that is refused ends, and says why.
void HostGroup::welcome(Accepted accepted) {
  HostIdentity own;
  own.hello.build = build_id();
  own.port = member(0).port;
  try {
    const HostIdentity identity = read_identity(
        shake_hands(accepted.socket, HandshakeRole::Accepts, secret_, bytes_of(own),
                    steady_clock::now() + kHandshakePatience, "a connection from " + accepted.address));
    const int rank = identity.rank;
    if (rank < 1 || rank >= options_.ranks || member(rank).socket.get() >= 0) {
      throw Error("ERR_HOSTS", "a second rank " + std::to_string(rank));
    }
    member(rank).port = static_cast<uint16_t>(identity.port);
    try {
      check_hello(identity.hello);
    } catch (const Error& error) {
      throw Error("ERR_NATIVE_LOAD", name_of(rank) + ": " + error.what());
    }
    member(rank).socket = std::move(accepted.socket);
    member(rank).address = std::move(accepted.address);
  } catch (const Error& error) {
    if (error.code() == "ERR_NATIVE_LOAD") throw;
    refused_ = std::string(" (refused: ") + error.what() + ")";
  }
}

void HostGroup::check_launched() {
  for (int rank = 1; rank < options_.ranks; ++rank) {
    Member& launched = member(rank);
    if (launched.socket.get() >= 0 || !launched.launched->ended(0ms)) continue;
    throw Error("ERR_HOSTS",
                name_of(rank) + " could not be started: " + launched.launched->fate() + refused_);
  }
}

void HostGroup::read_answer(int rank, Deadline deadline) {
  const auto answer = receive_message(member(rank).socket, kMostAnswerBytes, deadline, name_of(rank));
  auto [type, reader] = open_frame(answer);
  if (type == MessageType::Failed) {
    Failure failure;
    read_all(reader, failure);
    throw Error(failure.code, name_of(rank) + ": " + failure.message);
  }
  if (type != MessageType::Joined) garbled("no answer to join");
}

std::unique_ptr<TcpCommunicator> HostGroup::join(const std::string& engine_digest) {
  Join join{options_, engine_digest, {}, {}};
  join.options.secret.clear();
  for (const Member& member : members_) {
    join.addresses.push_back(member.address);
    join.ports.push_back(member.port);
  }
  const auto deadline = steady_clock::now() + kJoinPatience;
  const std::vector<uint8_t> message = bytes_of(join);
  for (int rank = 1; rank < options_.ranks; ++rank) {
    send_message(member(rank).socket, message, deadline, name_of(rank));
  }
  // Whoever answers first: one that fails keeps the others waiting, who would say so later.
  std::vector<int> silent(static_cast<size_t>(options_.ranks - 1));
  std::iota(silent.begin(), silent.end(), 1);
  while (!silent.empty()) {
    throw_if_cancelled();
    std::erase_if(silent, [&](int rank) {
      const bool late = steady_clock::now() >= deadline;
      if (!late && !readable(member(rank).socket, steady_clock::now() + kShortLook)) return false;
      read_answer(rank, deadline);
      return true;
    });
  }

  std::vector<TcpPeer> peers(members_.size());
  for (int rank = 1; rank < options_.ranks; ++rank) {
    peers[static_cast<size_t>(rank)] = {std::move(member(rank).socket),
                                        endpoint(host(rank), member(rank).port)};
  }
  TcpGroupOptions group;
  group.communication = options_.communication;
  group.wire = options_.exchange_dtype == DType::BFloat16 ? WireFormat::BFloat16 : WireFormat::Float32;
  group.on_lost = [this](int lost_rank) {
    {
      std::lock_guard lock(mutex_);
      lost_ = true;
    }
    changed_.notify_all();
    loss_watch_.lost(lost_rank);
  };
  return std::make_unique<TcpCommunicator>(0, std::move(peers), group);
}

}  // namespace kraken
