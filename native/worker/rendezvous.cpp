#include "worker/rendezvous.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/random_bytes.h"

namespace kraken {
namespace {

#ifdef __linux__

Error failed(const char* what) {
  return Error("ERR_NATIVE_LOAD", std::string(what) + ": " + std::strerror(errno));
}

// A leading zero byte: a name that no file has.
std::pair<sockaddr_un, socklen_t> address_of(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.empty() || name.size() + 1 > sizeof address.sun_path) {
    throw Error("ERR_NATIVE_LOAD", std::string(kRendezvous) + " is not what kraken-worker set");
  }
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())};
}

std::string unguessable() {
  std::array<uint8_t, 32> random{};
  fill_with_random(random);
  std::string name = "kraken-";
  for (const uint8_t byte : random) name += "0123456789abcdef"[byte % 16];
  return name;
}

Descriptor open_socket() {
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) throw failed("socket");
  return socket;
}

#endif

}  // namespace

#ifdef __linux__

Rendezvous::Rendezvous() : name_(unguessable()), listener_(open_socket()) {
  const auto [address, size] = address_of(name_);
  if (bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), size) < 0) throw failed("bind");
  if (listen(listener_.get(), 1) < 0) throw failed("listen");
}

Descriptor Rendezvous::accept() const {
  Descriptor socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ucred peer{};
  socklen_t size = sizeof peer;
  if (socket.get() < 0 || getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ||
      peer.uid != getuid()) {
    return {};
  }
  return socket;
}

Descriptor connect_to(const std::string& name) {
  Descriptor socket = open_socket();
  const auto [address, size] = address_of(name);
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) < 0) {
    throw failed("nobody waits for this rank; it must run on the machine that loads the engine");
  }
  return socket;
}

#else

namespace {
Error only_linux() {
  return Error("ERR_NATIVE_LOAD", "ranks under mpirun need Linux");
}
}  // namespace

Rendezvous::Rendezvous() {
  throw only_linux();
}
Descriptor Rendezvous::accept() const {
  return {};
}
Descriptor connect_to(const std::string&) {
  throw only_linux();
}

#endif

}  // namespace kraken
