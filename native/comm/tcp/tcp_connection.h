// A connection over a socket that never blocks.
#pragma once

#include <sys/types.h>

#include "base/descriptor.h"
#include "comm/framed/connection.h"

namespace kraken {

class TcpConnection final : public Connection {
 public:
  // `name` is host:port.
  TcpConnection(int rank, Descriptor socket, std::string name)
      : Connection(rank, std::move(name)), socket_(std::move(socket)) {}

  int fd() const { return socket_.get(); }
  void send_some() override;
  bool receive_some(FrameSink& sink) override;
  // poll() counts a socket as readable from then on.
  void wake_after(size_t due) override;
  void beat() override;
  bool finish() override;
  void close() override;

 private:
  // Of one recv(): what came, 0 when nothing is there, −1 at the end.
  ssize_t receive_into(uint8_t* data, size_t size);

  const Descriptor socket_;
  FrameHeader header_;
  size_t have_ = 0;  // bytes of header and payload that have come
  uint8_t* payload_ = nullptr;
  size_t wake_after_ = 1;
  bool sent_ = false;  // since the last beat()
};

}  // namespace kraken
