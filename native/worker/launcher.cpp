#include "worker/launcher.h"

#include <poll.h>

#include <atomic>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "base/error.h"
#include "worker/channel.h"
#include "worker/launched_program.h"
#include "worker/rendezvous.h"

namespace kraken {
namespace {

using std::chrono::milliseconds;

constexpr size_t kRoom = 16 << 20;           // unsent bytes towards Node beyond which rank 0 waits
constexpr milliseconds kLook{20};            // for the program's end, while nobody has connected
constexpr milliseconds kFatePatience{1500};  // from rank 0's end to the program's
constexpr milliseconds kFarewell{1000};      // for ranks that were told to end
constexpr milliseconds kLastWords{200};

// "rank 1: ERR_CODE: message", as a rank prints it with fatal_line().
std::optional<Failure> parse_failure(std::string_view line) {
  constexpr std::string_view kDigits = "0123456789", kCode = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_", kColon = ": ";
  constexpr size_t kLongestCode = 64;
  const auto take = [&line](std::string_view letters) {
    const std::string_view taken = line.substr(0, line.find_first_not_of(letters));
    line.remove_prefix(taken.size());
    return taken;
  };
  const auto skip = [&line](std::string_view text) {
    const bool there = line.starts_with(text);
    if (there) line.remove_prefix(text.size());
    return there;
  };
  if (!skip("rank ")) return std::nullopt;
  const std::string_view rank = take(kDigits);
  if (rank.empty() || !skip(kColon)) return std::nullopt;
  const std::string_view code = take(kCode);
  if (!code.starts_with("ERR_") || code.size() > kLongestCode || !skip(kColon)) return std::nullopt;
  return Failure{std::string(code), "rank " + std::string(rank) + ": " + std::string(line)};
}

// What the first rank that said so died of, else what became of the program.
Failure failure_of(LaunchedProgram& program, const char* otherwise) {
  constexpr std::string_view kPrefix = "kraken-worker: ";
  const std::string output = program.output();
  for (size_t at = output.find(kPrefix); at != std::string::npos; at = output.find(kPrefix, at)) {
    at += kPrefix.size();
    const std::string_view rest = std::string_view(output).substr(at);
    if (auto failure = parse_failure(rest.substr(0, rest.find('\n')))) return *failure;
  }
  return {otherwise, program.fate()};
}

// Rank 0's end of the conversation; nothing when the other side of `socket` or the program ends before.
Descriptor wait_for_rank(const Rendezvous& rendezvous, int socket, LaunchedProgram& program) {
  for (;;) {
    pollfd polled[2] = {{rendezvous.get(), POLLIN, 0}, {socket, 0, 0}};
    poll(polled, 2, static_cast<int>(kLook.count()));
    if (polled[1].revents & (POLLHUP | POLLERR)) return {};
    if (polled[0].revents & POLLIN) {
      Descriptor rank = rendezvous.accept();
      if (rank.get() >= 0) return rank;
    }
    if (program.ended(milliseconds(0))) return {};
  }
}

// Frames from one side to the other until one of them closes. Waits for room where the receiver may be slow.
void pass_on(Channel& from, Channel& to, bool wait) {
  const auto pass = [&](MessageType type, Reader& message) {
    to.post(Frame(type, message.rest()));
    if (wait) to.wait_for_room();
  };
  try {
    while (from.pump(Channel::kForever, pass)) {
    }
  } catch (const Error& error) {
    to.post({MessageType::Failed, Failure{error.code(), error.what()}});
  }
}

// Until one side closes. `ended` is told which, and says why rank 0 is gone, if it is.
template <typename Ended>
void pass_both_ways(Channel& node, Descriptor rank_socket, const Ended& ended) {
  Channel rank(std::move(rank_socket));
  std::atomic<bool> closed_by_node{false};
  std::thread towards_rank([&] {
    pass_on(node, rank, false);
    closed_by_node = true;
    rank.flush(kLastWords);
    rank.close();
  });
  pass_on(rank, node, true);
  const Failure failure = ended(closed_by_node);
  if (!closed_by_node) node.post({MessageType::Failed, failure});
  node.flush(kLastWords);
  node.close();
  towards_rank.join();
}

}  // namespace

std::string fatal_line(int rank, const std::string& code, const std::string& message) {
  std::string line = message;
  for (char& c : line) c = c == '\n' ? ' ' : c;
  return "kraken-worker: rank " + std::to_string(rank) + ": " + code + ": " + line + "\n";
}

int launch_ranks(Descriptor socket, const std::vector<std::string>& command) {
  const Rendezvous rendezvous;
  LaunchedProgram program(command, rendezvous.name());
  Descriptor rank_socket = wait_for_rank(rendezvous, socket.get(), program);
  Channel node(std::move(socket), kRoom);
  if (rank_socket.get() < 0) {
    if (program.ended(milliseconds(0))) {
      node.post({MessageType::Failed, failure_of(program, "ERR_NATIVE_LOAD")});
      node.flush(kLastWords);
    }
    return 2;
  }
  bool closed_by_node = false;
  pass_both_ways(node, std::move(rank_socket), [&](bool by_node) {
    closed_by_node = by_node;
    // Unless Node ended it, rank 0 is gone: then who asked hears why.
    program.ended(by_node ? milliseconds(0) : kFatePatience);
    return failure_of(program, "ERR_RANK_LOST");
  });
  program.end(closed_by_node ? kFarewell : milliseconds(0));
  return 0;
}

int attach_to_ranks(Descriptor socket, const std::string& name) {
  Channel node(std::move(socket), kRoom);
  const Failure gone{"ERR_RANK_LOST", "rank 0 has ended: what it printed says why"};
  try {
    pass_both_ways(node, connect_to(name), [&](bool) { return gone; });
    return 0;
  } catch (const Error&) {  // nobody listens there
    node.post({MessageType::Failed, gone});
    node.flush(kLastWords);
    return 2;
  }
}

}  // namespace kraken
