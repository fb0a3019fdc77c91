#include "comm/tcp/tcp_connection.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "comm/tcp/socket.h"

namespace kraken {
namespace {

constexpr int kReadsAtOnce = 64;  // then the others get their turn
constexpr size_t kMostWaitedFor = 256 << 10;
constexpr size_t kWorthWaiting = 16 << 10;

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

}  // namespace

void TcpConnection::send_some() {
  while (!outgoing_.empty()) {
    Outgoing& first = outgoing_.front();
    const size_t header = sizeof(FrameHeader) - std::min(first.sent, sizeof(FrameHeader));
    const size_t skipped = first.sent - (sizeof(FrameHeader) - header);
    iovec pieces[2] = {
        {reinterpret_cast<uint8_t*>(&first.header) + sizeof(FrameHeader) - header, header},
        {const_cast<uint8_t*>(first.payload.data()) + skipped, first.payload.size() - skipped}};
    msghdr message{};
    message.msg_iov = pieces;
    message.msg_iovlen = 2;
    const ssize_t sent = sendmsg(fd(), &message, MSG_DONTWAIT | kNoSignal);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && would_block(errno)) return;
    if (sent < 0) broken(std::strerror(errno));
    sent_ = true;
    first.sent += static_cast<size_t>(sent);
    if (first.sent < sizeof(FrameHeader) + first.payload.size()) continue;
    outgoing_.pop_front();
  }
}

ssize_t TcpConnection::receive_into(uint8_t* data, size_t size) {
  for (;;) {
    const ssize_t got = recv(fd(), data, size, MSG_DONTWAIT);
    if (got > 0) {
      heard_ = true;
      return got;
    }
    if (got == 0) return -1;
    if (would_block(errno)) return 0;
    if (errno != EINTR) broken(std::strerror(errno));
  }
}

bool TcpConnection::receive_some(FrameSink& sink) {
  for (int reads = 0; reads < kReadsAtOnce; ++reads) {
    if (have_ < sizeof header_) {
      const ssize_t got = receive_into(reinterpret_cast<uint8_t*>(&header_) + have_, sizeof header_ - have_);
      if (got <= 0) return got == 0;
      have_ += static_cast<size_t>(got);
      if (have_ < sizeof header_) continue;
      check_header(header_);
      payload_ = header_.bytes > 0 ? sink.place(rank(), header_) : nullptr;
    }
    const size_t end = sizeof header_ + header_.bytes;
    if (have_ < end) {
      const ssize_t got = receive_into(payload_ + have_ - sizeof header_, end - have_);
      if (got <= 0) return got == 0;
      have_ += static_cast<size_t>(got);
    }
    if (have_ < end) continue;
    have_ = 0;
    sink.complete(rank(), header_);
  }
  return true;
}

void TcpConnection::wake_after(size_t due) {
  const bool within = have_ >= sizeof header_;
  size_t bytes = within ? sizeof header_ + header_.bytes - have_ : due > 0 ? sizeof header_ + due - have_ : 1;
  bytes = std::min(bytes, kMostWaitedFor);
  if (bytes < kWorthWaiting) bytes = 1;
  if (bytes == wake_after_) return;
  wake_after_ = bytes;
  const int value = static_cast<int>(bytes);
  setsockopt(fd(), SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
}

void TcpConnection::beat() {
  if (!std::exchange(sent_, false) && !unsent()) queue(FrameKind::Beat, 0, {});
}

// Closing a socket that has something unread resets it, and what was sent last would be lost with it. So this
// reads until the other side has closed.
bool TcpConnection::finish() {
  send_some();
  if (!unsent()) shutdown(fd(), SHUT_WR);
  uint8_t dropped[4096];
  ssize_t got = 0;
  while ((got = recv(fd(), dropped, sizeof dropped, MSG_DONTWAIT)) > 0) {
  }
  return got == 0 || (!would_block(errno) && errno != EINTR);
}

void TcpConnection::close() {
  shutdown(fd(), SHUT_RDWR);
}

}  // namespace kraken
