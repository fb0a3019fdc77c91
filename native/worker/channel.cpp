#include "worker/channel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace kraken {
namespace {

#ifdef MSG_NOSIGNAL
constexpr int kNoSignal = MSG_NOSIGNAL;
#else
constexpr int kNoSignal = 0;  // macOS: SO_NOSIGPIPE, below
#endif

constexpr int kReadsPerPump = 16;  // then others get their turn

[[noreturn]] void throw_system(const char* what) {
  throw Error("ERR_IO", std::string(what) + ": " + std::strerror(errno));
}

void set_flags(int fd, bool blocking) {
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) throw_system("fcntl");
  if (!blocking && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) throw_system("fcntl");
}

}  // namespace

std::pair<Descriptor, Descriptor> make_socket_pair() {
  int fds[2];
#ifdef SOCK_CLOEXEC  // no other thread's fork() may come between
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) throw_system("socketpair");
#else
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0) throw_system("socketpair");
#endif
  std::pair<Descriptor, Descriptor> pair{Descriptor(fds[0]), Descriptor(fds[1])};
  for (int fd : fds) {
    set_flags(fd, true);
#ifdef SO_NOSIGPIPE
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  }
  return pair;
}

Channel::Channel(Descriptor socket, size_t room) : socket_(std::move(socket)), room_(room) {
  int fds[2];
#ifdef __linux__
  if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) throw_system("pipe2");
#else
  if (pipe(fds) < 0) throw_system("pipe");
#endif
  wake_reader_ = Descriptor(fds[0]);
  wake_writer_ = Descriptor(fds[1]);
  for (int fd : {fds[0], fds[1], socket_.get()}) set_flags(fd, false);
}

void Channel::post(Frame frame) {
  std::vector<uint8_t> bytes = std::move(frame).take();
  std::lock_guard lock(mutex_);
  if (closed_) return;
  const bool first = outgoing_.empty();
  unsent_ += bytes.size();
  outgoing_.push_back(std::move(bytes));
  if (!first) return;  // the pump is at it
  send_some();
  if (!outgoing_.empty()) wake();
}

bool Channel::wait_for_room() {
  std::unique_lock lock(mutex_);
  drained_.wait(lock, [this] { return closed_ || unsent_ <= room_; });
  return !closed_;
}

void Channel::send_some() {
  while (!outgoing_.empty()) {
    const std::vector<uint8_t>& first = outgoing_.front();
    const ssize_t sent =
        send(socket_.get(), first.data() + sent_, first.size() - sent_, MSG_DONTWAIT | kNoSignal);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) {  // nobody reads any more; the pump will see the end
        outgoing_.clear();
        sent_ = unsent_ = 0;
      }
      break;
    }
    sent_ += static_cast<size_t>(sent);
    unsent_ -= static_cast<size_t>(sent);
    if (sent_ < first.size()) continue;
    outgoing_.pop_front();
    sent_ = 0;
  }
  if (unsent_ <= room_) drained_.notify_all();
}

bool Channel::pump(std::chrono::milliseconds timeout, const OnFrame& on_frame) {
  pollfd polled[2] = {{socket_.get(), 0, 0}, {wake_reader_.get(), POLLIN, 0}};
  {
    std::lock_guard lock(mutex_);
    if (closed_) return false;
    if (unsent_ <= room_) polled[0].events |= POLLIN;
    if (!outgoing_.empty()) polled[0].events |= POLLOUT;
  }
  const int ready = poll(polled, 2, static_cast<int>(timeout.count()));
  if (ready < 0 && errno != EINTR) throw_system("poll");
  if (ready <= 0) return true;
  if (polled[1].revents != 0) {
    uint8_t bytes[64];
    while (::read(wake_reader_.get(), bytes, sizeof bytes) > 0) {
    }
  }
  if (polled[0].revents & (POLLOUT | POLLERR)) {
    std::lock_guard lock(mutex_);
    send_some();
  }
  const bool open = (polled[0].revents & (POLLIN | POLLHUP | POLLERR)) == 0 || receive(on_frame);
  if (!open) close();
  return open;
}

bool Channel::receive(const OnFrame& on_frame) {
  for (int reads = 0; reads < kReadsPerPump; ++reads) {
    const ssize_t got = recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (got <= 0) return false;
    incoming_.insert(incoming_.end(), buffer_.begin(), buffer_.begin() + got);
    parse(on_frame);
    if (static_cast<size_t>(got) < buffer_.size()) break;
  }
  return true;
}

void Channel::parse(const OnFrame& on_frame) {
  size_t at = 0;
  while (incoming_.size() - at >= kFrameHeaderBytes) {
    uint32_t length = 0;
    uint16_t type = 0, zero = 0;
    Reader header({incoming_.data() + at, kFrameHeaderBytes});
    header(length, type, zero);
    if (length > kMaxFrameBytes || zero != 0) {
      garbled("a frame of " + std::to_string(length) + " bytes, type " + std::to_string(type));
    }
    if (incoming_.size() - at - kFrameHeaderBytes < length) break;
    Reader content({incoming_.data() + at + kFrameHeaderBytes, length});
    at += kFrameHeaderBytes + length;
    on_frame(static_cast<MessageType>(type), content);
  }
  incoming_.erase(incoming_.begin(), incoming_.begin() + static_cast<ptrdiff_t>(at));
}

void Channel::flush(std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  while (unsent() > 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd polled{socket_.get(), POLLOUT, 0};
    if (left <= 0 || poll(&polled, 1, static_cast<int>(left)) == 0) return;
    std::lock_guard lock(mutex_);
    send_some();
  }
}

void Channel::wake() {
  const uint8_t byte = 0;
  [[maybe_unused]] const ssize_t ignored = ::write(wake_writer_.get(), &byte, 1);  // full: it is awake
}

size_t Channel::unsent() {
  std::lock_guard lock(mutex_);
  return unsent_;
}

void Channel::close() {
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    outgoing_.clear();
    unsent_ = 0;
    shutdown(socket_.get(), SHUT_RDWR);
    drained_.notify_all();
  }
  wake();
}

}  // namespace kraken
