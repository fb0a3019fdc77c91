#include "comm/tcp/tcp_connection.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "comm/tcp/socket.h"

namespace kraken {
namespace {

constexpr int kReadsAtOnce = 64;  // then the others get their turn
constexpr size_t kMostWaitedFor = 256 << 10;
constexpr size_t kWindow = 4 << 20;  // more comes while what has come is taken off
constexpr size_t kWorthWaiting = 16 << 10;

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

using std::chrono::steady_clock;
using std::chrono::system_clock;

#ifdef SO_TIMESTAMPNS
void ask_for_stamps(int fd) {
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
}

// Of the last packet that went into what recvmsg() gave.
std::optional<system_clock::time_point> stamp_of(msghdr& message) {
  const cmsghdr* control = CMSG_FIRSTHDR(&message);
  if (control == nullptr || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_TIMESTAMPNS) {
    return std::nullopt;
  }
  timespec time{};
  std::memcpy(&time, CMSG_DATA(control), sizeof time);
  return system_clock::time_point(std::chrono::duration_cast<system_clock::duration>(
      std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec)));
}
#else
void ask_for_stamps(int) {}

std::optional<system_clock::time_point> stamp_of(msghdr&) {
  return std::nullopt;
}
#endif

}  // namespace

TcpConnection::TcpConnection(int rank, Descriptor socket, std::string name)
    : Connection(rank, std::move(name)), socket_(std::move(socket)) {
  ask_for_stamps(fd());
  wake_at(kWindow);  // makes room for as much, which stays
  wake_at(1);
}

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
    iovec piece{data, size};
    alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(timespec))];
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = recvmsg(fd(), &message, MSG_DONTWAIT);
    if (got > 0) {
      heard_ = true;
      stamp_ = stamp_of(message);
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

// The clock that stamps is the one that people set: only how long ago it was counts.
steady_clock::time_point TcpConnection::came() const {
  const auto now = steady_clock::now();
  if (!stamp_) return now;
  const auto ago = system_clock::now() - *stamp_;
  return ago > system_clock::duration::zero() ? now - ago : now;
}

void TcpConnection::wake_after(size_t due) {
  const bool within = have_ >= sizeof header_;
  size_t bytes = within ? sizeof header_ + header_.bytes - have_ : due > 0 ? sizeof header_ + due - have_ : 1;
  wake_at(bytes < kWorthWaiting ? 1 : std::min(bytes, kMostWaitedFor));
}

void TcpConnection::wake_when_filling() {
  wake_at(kWindow / 4);
}

void TcpConnection::wake_at(size_t bytes) {
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
