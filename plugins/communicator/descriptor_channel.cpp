#include "communicator/descriptor_channel.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>

#include "common/error.h"

namespace kraken::plugins {
namespace {

struct Message {
  std::array<uint64_t, 2> token{};
  int32_t rank = 0;
};

[[noreturn]] void fail(const char* what) {
  throw PluginError(std::string(what) + " failed: " + std::strerror(errno));
}

std::array<uint64_t, 2> random_words() {
  std::random_device random;
  std::array<uint64_t, 2> words{};
  for (uint64_t& word : words) word = (uint64_t{random()} << 32) | random();
  return words;
}

sockaddr_un socket_address(const DescriptorChannel::Address& address, socklen_t& size) {
  sockaddr_un made{};
  made.sun_family = AF_UNIX;
  const int length = std::snprintf(made.sun_path + 1, sizeof(made.sun_path) - 1, "kraken-%016llx%016llx",
                                   static_cast<unsigned long long>(address.name[0]),
                                   static_cast<unsigned long long>(address.name[1]));
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(length));
  return made;
}

// One descriptor beside the message.
struct Envelope {
  explicit Envelope(Message& message) : part{&message, sizeof message} {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
  }
  iovec part;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
};

Descriptor descriptor_in(Envelope& envelope) {
  const cmsghdr* control = CMSG_FIRSTHDR(&envelope.header);
  if (control == nullptr || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) return {};
  int number = -1;
  std::memcpy(&number, CMSG_DATA(control), sizeof number);
  return Descriptor(number);
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) close(number_);
}

DescriptorChannel::DescriptorChannel()
    : address_{random_words(), random_words()}, socket_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  if (socket_.get() < 0) fail("opening a socket for descriptors");
  const timeval second = {1, 0};
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    if (setsockopt(socket_.get(), SOL_SOCKET, option, &second, sizeof second) != 0) {
      fail("bounding a socket's waits");
    }
  }
  socklen_t size = 0;
  const sockaddr_un name = socket_address(address_, size);
  if (bind(socket_.get(), reinterpret_cast<const sockaddr*>(&name), size) != 0) fail("naming a socket");
}

void DescriptorChannel::send(const Address& to, int32_t own_rank, const Descriptor& descriptor) const {
  Message message{to.token, own_rank};
  Envelope envelope(message);
  socklen_t size = 0;
  sockaddr_un name = socket_address(to, size);
  envelope.header.msg_name = &name;
  envelope.header.msg_namelen = size;
  cmsghdr* control = CMSG_FIRSTHDR(&envelope.header);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(sizeof(int));
  const int number = descriptor.get();
  std::memcpy(CMSG_DATA(control), &number, sizeof number);
  if (sendmsg(socket_.get(), &envelope.header, MSG_NOSIGNAL) != sizeof message) {
    fail("sending a descriptor to a peer");
  }
}

Descriptor DescriptorChannel::receive(int32_t rank) {
  for (;;) {
    if (const auto found = waiting_.find(rank); found != waiting_.end()) {
      return std::move(waiting_.extract(found).mapped());
    }
    Message message;
    Envelope envelope(message);
    const ssize_t got = recvmsg(socket_.get(), &envelope.header, MSG_CMSG_CLOEXEC);
    if (got < 0) {
      if (errno == EINTR) continue;
      fail("receiving a peer's descriptor");
    }
    Descriptor descriptor = descriptor_in(envelope);
    // Whoever else found the socket is not heard; the descriptor is closed.
    if (got != sizeof message || message.token != address_.token || descriptor.get() < 0) continue;
    waiting_.emplace(message.rank, std::move(descriptor));
  }
}

}  // namespace kraken::plugins
