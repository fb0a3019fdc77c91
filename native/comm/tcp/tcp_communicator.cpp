#include "comm/tcp/tcp_communicator.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "comm/tcp/tcp_connection.h"

namespace kraken {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

class TcpTransport final : public FrameTransport {
 public:
  TcpTransport(int rank, std::vector<TcpPeer> peers) : connections_(peers.size()) {
    for (size_t other = 0; other < peers.size(); ++other) {
      if (other == static_cast<size_t>(rank)) continue;
      connections_[other] = std::make_unique<TcpConnection>(
          static_cast<int>(other), std::move(peers[other].socket), peers[other].name);
    }
    int fds[2];
    if (pipe(fds) < 0) throw Error("ERR_IO", std::string("pipe: ") + std::strerror(errno));
    wake_reader_ = Descriptor(fds[0]);
    wake_writer_ = Descriptor(fds[1]);
    for (const int fd : fds) {
      fcntl(fd, F_SETFD, FD_CLOEXEC);
      fcntl(fd, F_SETFL, O_NONBLOCK);
    }
  }

  Connection* to(int rank) override { return connections_[static_cast<size_t>(rank)].get(); }
  void drop(int rank) override { connections_[static_cast<size_t>(rank)].reset(); }

  bool shared() const override { return true; }

  // The kernel wakes this thread, so it does not matter how urgent it is.
  std::vector<int> wait(steady_clock::time_point until, Urgency,
                        std::unique_lock<std::mutex>& connections) override {
    std::vector<pollfd> polled{{wake_reader_.get(), POLLIN, 0}};
    std::vector<int> ranks{-1};
    for (const auto& connection : connections_) {
      if (!connection) continue;
      const int events = POLLIN | (connection->unsent() ? POLLOUT : 0);
      polled.push_back({connection->fd(), static_cast<short>(events), 0});
      ranks.push_back(connection->rank());
    }
    const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now());
    const int timeout = static_cast<int>(std::max<int64_t>(0, left.count()));
    connections.unlock();
    const int ready = poll(polled.data(), polled.size(), timeout);
    const int error = errno;
    connections.lock();
    if (ready < 0 && error != EINTR) {
      throw Error("ERR_RANK_LOST", std::string("poll: ") + std::strerror(error));
    }
    if (polled[0].revents != 0) {
      uint8_t bytes[64];
      while (read(wake_reader_.get(), bytes, sizeof bytes) > 0) {
      }
    }
    std::vector<int> readable;
    for (size_t i = 1; i < polled.size(); ++i) {
      if (polled[i].revents & (POLLIN | POLLHUP | POLLERR)) readable.push_back(ranks[i]);
    }
    return readable;
  }

  void wake() override {
    const uint8_t byte = 0;
    [[maybe_unused]] const ssize_t ignored = write(wake_writer_.get(), &byte, 1);  // full: it is awake
  }

 private:
  std::vector<std::unique_ptr<TcpConnection>> connections_;  // [size]
  Descriptor wake_reader_, wake_writer_;
};

}  // namespace

std::unique_ptr<FramedCommunicator> make_tcp_communicator(int rank, std::vector<TcpPeer> peers,
                                                          const FramedGroupOptions& options) {
  const int size = static_cast<int>(peers.size());
  auto transport = size > 1 ? std::make_unique<TcpTransport>(rank, std::move(peers)) : nullptr;
  return std::make_unique<FramedCommunicator>(rank, size, std::move(transport), options);
}

}  // namespace kraken
