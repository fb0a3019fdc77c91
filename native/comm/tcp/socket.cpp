#include "comm/tcp/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "base/error.h"

namespace kraken {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRetry{50};  // between two attempts to connect

struct Addresses {
  explicit Addresses(const std::string& host, const std::string& port) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &first);
    if (error != 0) {
      first = nullptr;
      throw Error("ERR_HOSTS", "host " + host + " is not known: " + gai_strerror(error));
    }
  }
  Addresses(const Addresses&) = delete;
  Addresses& operator=(const Addresses&) = delete;
  ~Addresses() {
    if (first != nullptr) freeaddrinfo(first);
  }
  addrinfo* first = nullptr;
};

void set(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);  // a wish; what matters has a deadline of its own
}

void prepare(int fd) {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
#ifdef TCP_KEEPIDLE
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
#endif
#ifdef TCP_CONGESTION
  // Bursts of an exchange, of which nothing queues behind: BBR, where it is the system's choice, meters them
  // out by timers, on the cores that compute.
  setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
#endif
#ifdef SO_NOSIGPIPE
  set(fd, SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
}

Descriptor make_socket(const addrinfo& address) {
#ifdef SOCK_CLOEXEC  // no other thread's fork() may come between
  Descriptor made(socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC, address.ai_protocol));
#else
  Descriptor made(socket(address.ai_family, address.ai_socktype, address.ai_protocol));
#endif
  if (made.get() >= 0) prepare(made.get());
  return made;
}

// False: not by then.
bool ready(int fd, short events, Deadline deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd polled{fd, events, 0};
    const int result = poll(&polled, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (result > 0) return true;
    if (result == 0 || errno != EINTR) return false;
  }
}

std::string numeric(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST] = "?";
  getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, nullptr, 0,
              NI_NUMERICHOST);
  return host;
}

// 0, or the error that connecting to this address ends with.
int try_to_connect(const Descriptor& made, const addrinfo& address, Deadline deadline) {
  if (connect(made.get(), address.ai_addr, address.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!ready(made.get(), POLLOUT, deadline)) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(made.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

void transfer(const Descriptor& socket, uint8_t* data, size_t size, bool sending, Deadline deadline,
              const std::string& who) {
  while (size > 0) {
    if (!ready(socket.get(), sending ? POLLOUT : POLLIN, deadline)) {
      throw Error("ERR_HOSTS", who + " does not answer");
    }
    const ssize_t moved = sending ? send(socket.get(), data, size, MSG_DONTWAIT | kNoSignal)
                                  : recv(socket.get(), data, size, MSG_DONTWAIT);
    if (moved < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) continue;
    if (moved <= 0) {
      throw Error("ERR_HOSTS",
                  who + (moved == 0 ? " closed the connection" : std::string(": ") + std::strerror(errno)));
    }
    data += moved;
    size -= static_cast<size_t>(moved);
  }
}

}  // namespace

Listener listen_on(const std::string& host) {
  const Addresses addresses(host, "0");
  int error = 0;
  for (const addrinfo* address = addresses.first; address != nullptr; address = address->ai_next) {
    Listener listener{make_socket(*address)};
    const int fd = listener.socket.get();
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    if (fd >= 0 && bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, 64) == 0 &&
        getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) == 0) {
      listener.port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                                        : reinterpret_cast<sockaddr_in&>(bound).sin_port);
      return listener;
    }
    error = errno;
  }
  throw Error("ERR_HOSTS", "cannot listen on " + host + " (" + std::strerror(error) +
                               "): it must name this machine as the other hosts reach it");
}

std::optional<Accepted> accept_from(const Listener& listener, Deadline deadline) {
  if (!ready(listener.socket.get(), POLLIN, deadline)) return std::nullopt;
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  Accepted accepted{Descriptor(accept(listener.socket.get(), reinterpret_cast<sockaddr*>(&address), &size)),
                    ""};
  if (accepted.socket.get() < 0) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      throw Error("ERR_HOSTS", std::string("cannot accept a connection: ") + std::strerror(errno));
    }
    return std::nullopt;  // it is gone already
  }
  prepare(accepted.socket.get());
  accepted.address = numeric(address, size);
  return accepted;
}

Descriptor connect_to(const std::string& host, uint16_t port, Deadline deadline) {
  const Addresses addresses(host, std::to_string(port));
  int error = ETIMEDOUT;
  do {
    for (const addrinfo* address = addresses.first; address != nullptr; address = address->ai_next) {
      Descriptor made = make_socket(*address);
      error = made.get() < 0 ? errno : try_to_connect(made, *address, deadline);
      if (error == 0) return made;
    }
    std::this_thread::sleep_for(kRetry);
  } while (std::chrono::steady_clock::now() < deadline);
  throw Error("ERR_HOSTS", endpoint(host, port) + " cannot be reached: " + std::strerror(error));
}

void send_message(const Descriptor& socket, const std::vector<uint8_t>& message, Deadline deadline,
                  const std::string& who) {
  const auto size = static_cast<uint32_t>(message.size());
  std::vector<uint8_t> bytes(sizeof size + message.size());
  std::memcpy(bytes.data(), &size, sizeof size);
  std::copy(message.begin(), message.end(), bytes.begin() + sizeof size);
  transfer(socket, bytes.data(), bytes.size(), true, deadline, who);
}

std::vector<uint8_t> receive_message(const Descriptor& socket, size_t most, Deadline deadline,
                                     const std::string& who) {
  uint32_t size = 0;
  transfer(socket, reinterpret_cast<uint8_t*>(&size), sizeof size, false, deadline, who);
  if (size > most) throw Error("ERR_HOSTS", who + " does not speak this protocol");
  std::vector<uint8_t> message(size);
  transfer(socket, message.data(), size, false, deadline, who);
  return message;
}

bool readable(const Descriptor& socket, Deadline deadline) {
  return ready(socket.get(), POLLIN, deadline);
}

std::string local_address(const Descriptor& socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return numeric(address, size);
}

std::string endpoint(const std::string& host, uint16_t port) {
  const bool bare = host.find(':') == std::string::npos;
  return (bare ? host : "[" + host + "]") + ":" + std::to_string(port);
}

}  // namespace kraken
