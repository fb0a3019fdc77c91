#include "comm/tcp/connection.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "comm/tcp/socket.h"

namespace kraken {
namespace {

constexpr uint32_t kMostBytes = 1u << 30;
constexpr int kReadsAtOnce = 64;  // then the others get their turn
constexpr size_t kMostWaitedFor = 256 << 10;
constexpr size_t kWorthWaiting = 16 << 10;

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK;
}

}  // namespace

Connection::Connection(int rank, Descriptor socket, std::string name)
    : rank_(rank), socket_(std::move(socket)), name_(std::move(name)) {}

void Connection::queue(FrameKind kind, uint64_t number, std::span<const uint8_t> payload) {
  if (payload.size() > kMostBytes) {
    throw Error("ERR_OPTION", "a step exchanges " + std::to_string(payload.size()) +
                                  " bytes, more than a frame between hosts holds: lower maxStepTokens");
  }
  outgoing_.push_back({{kind, 0, static_cast<uint32_t>(payload.size()), number}, payload, {}});
}

void Connection::queue_owned(FrameKind kind, uint64_t number, std::vector<uint8_t> payload) {
  queue(kind, number, payload);
  outgoing_.back().owned = std::move(payload);  // the span stays: a moved vector keeps its memory
}

void Connection::send_some() {
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

ssize_t Connection::receive_into(uint8_t* data, size_t size) {
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

bool Connection::receive_some(FrameSink& sink) {
  for (int reads = 0; reads < kReadsAtOnce; ++reads) {
    if (have_ < sizeof header_) {
      const ssize_t got = receive_into(reinterpret_cast<uint8_t*>(&header_) + have_, sizeof header_ - have_);
      if (got <= 0) return got == 0;
      have_ += static_cast<size_t>(got);
      if (have_ < sizeof header_) continue;
      check_header();
      payload_ = header_.bytes > 0 ? sink.place(rank_, header_) : nullptr;
    }
    const size_t end = sizeof header_ + header_.bytes;
    if (have_ < end) {
      const ssize_t got = receive_into(payload_ + have_ - sizeof header_, end - have_);
      if (got <= 0) return got == 0;
      have_ += static_cast<size_t>(got);
    }
    if (have_ < end) continue;
    have_ = 0;
    sink.complete(rank_, header_);
  }
  return true;
}

void Connection::wake_after(size_t due) {
  const bool within = have_ >= sizeof header_;
  size_t bytes = within ? sizeof header_ + header_.bytes - have_ : due > 0 ? sizeof header_ + due - have_ : 1;
  bytes = std::min(bytes, kMostWaitedFor);
  if (bytes < kWorthWaiting) bytes = 1;
  if (bytes == wake_after_) return;
  wake_after_ = bytes;
  const int value = static_cast<int>(bytes);
  setsockopt(fd(), SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
}

void Connection::check_header() const {
  const auto kind = static_cast<uint16_t>(header_.kind);
  if (kind < 1 || kind > static_cast<uint16_t>(kLastFrameKind) || header_.zero != 0 ||
      header_.bytes > kMostBytes) {
    broken("it sent what cannot be");
  }
}

void Connection::close() {
  shutdown(fd(), SHUT_RDWR);
}

void Connection::broken(const std::string& why) const {
  throw Error("ERR_RANK_LOST",
              "the connection to rank " + std::to_string(rank_) + " (" + name_ + ") broke: " + why);
}

}  // namespace kraken
