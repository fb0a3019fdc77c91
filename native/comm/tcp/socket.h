// TCP sockets as the ranks of several hosts use them: never blocking, with a deadline on whatever takes time
// before a group is formed.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/descriptor.h"

namespace kraken {

using Deadline = std::chrono::steady_clock::time_point;

#ifdef MSG_NOSIGNAL
constexpr int kNoSignal = MSG_NOSIGNAL;
#else
constexpr int kNoSignal = 0;  // macOS: SO_NOSIGPIPE, set on every socket made here
#endif

struct Listener {
  Descriptor socket;
  uint16_t port = 0;
};

// On any free port of `host`. Throws ERR_HOSTS when that is no address of this machine.
Listener listen_on(const std::string& host);

// The next connection, ready for frames, and the address it comes from; nothing when none came by then.
// Throws ERR_HOSTS.
struct Accepted {
  Descriptor socket;
  std::string address;
};
std::optional<Accepted> accept_from(const Listener& listener, Deadline deadline);

// Tries until then, also while nobody listens yet. Throws ERR_HOSTS naming host and port.
Descriptor connect_to(const std::string& host, uint16_t port, Deadline deadline);

// Whole messages: a length (uint32) and as many bytes. Throw ERR_HOSTS, saying `who`, when the other side
// closes or the time is up; receive_message() also for more than `most` bytes.
void send_message(const Descriptor& socket, const std::vector<uint8_t>& message, Deadline deadline,
                  const std::string& who);
std::vector<uint8_t> receive_message(const Descriptor& socket, size_t most, Deadline deadline,
                                     const std::string& who);

// Whether something can be read, or the other side has closed, by then.
bool readable(const Descriptor& socket, Deadline deadline);

// This side's address of a connection.
std::string local_address(const Descriptor& socket);

// "host:port", with brackets where the host is an IPv6 address.
std::string endpoint(const std::string& host, uint16_t port);

}  // namespace kraken
