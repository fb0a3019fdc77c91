// A connection over a socket that never blocks.
#pragma once

#include <sys/types.h>

#include <optional>

#include "base/descriptor.h"
#include "comm/framed/connection.h"

namespace kraken {

class TcpConnection final : public Connection {
 public:
  // `name` is host:port.
  TcpConnection(int rank, Descriptor socket, std::string name);

  int fd() const { return socket_.get(); }
  void send_some() override;
  bool receive_some(FrameSink& sink) override;
  // poll() counts a socket as readable from then on.
  void wake_after(size_t due) override;
  void wake_when_filling() override;
  void beat() override;
  bool finish() override;
  void close() override;
  // By the kernel's clock, where it stamps what it receives: nobody need have looked then.
  std::chrono::steady_clock::time_point came() const override;

 private:
  // Of one recv(): what came, 0 when nothing is there, −1 at the end.
  ssize_t receive_into(uint8_t* data, size_t size);
  void wake_at(size_t bytes);

  const Descriptor socket_;
  FrameHeader header_;
  size_t have_ = 0;  // bytes of header and payload that have come
  uint8_t* payload_ = nullptr;
  size_t wake_after_ = 1;
  bool sent_ = false;  // since the last beat()
  std::optional<std::chrono::system_clock::time_point> stamp_;
};

}  // namespace kraken
