// One connection to another rank, as the communication thread sees it: frames in both directions over a
// socket that never blocks. Payloads are sent from where they lie and received where they are wanted.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "base/descriptor.h"

namespace kraken {

enum class FrameKind : uint16_t {
  Part = 1,      // of an exchange: what a rank adds (more than 2 ranks: to the receiver's share)
  Sum,           // of an exchange among more than 2: the sender's share, added up
  Columns,       // of a gather, to rank 0
  ColumnsTaken,  // from rank 0: the next may come
  Arrived,       // at a barrier, to rank 0
  Released,      // from rank 0
  Record,        // of an all-gather, to every other
  Message,       // of whoever uses the communicator
  Beat,          // a sign of life
  Left,          // the last frame of a rank that ends as it should
  Aborted,       // the last frame of one that doesn't; payload: why
};
constexpr auto kLastFrameKind = FrameKind::Aborted;

struct FrameHeader {
  FrameKind kind = FrameKind::Beat;
  uint16_t zero = 0;
  uint32_t bytes = 0;   // of the payload
  uint64_t number = 0;  // of the exchange, gather, all-gather or barrier
};
static_assert(sizeof(FrameHeader) == 16);

// Where payloads go. May throw: the connection is of no use then.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  // Room for header.bytes bytes, which stays until complete().
  virtual uint8_t* place(int rank, const FrameHeader& header) = 0;
  virtual void complete(int rank, const FrameHeader& header) = 0;
};

class Connection {
 public:
  // `name` is host:port, for messages.
  Connection(int rank, Descriptor socket, std::string name);

  int rank() const { return rank_; }
  int fd() const { return socket_.get(); }
  const std::string& name() const { return name_; }

  // The payload must stay until it is sent, or …
  void queue(FrameKind kind, uint64_t number, std::span<const uint8_t> payload);
  // … belongs to the frame.
  void queue_owned(FrameKind kind, uint64_t number, std::vector<uint8_t> payload);
  bool unsent() const { return !outgoing_.empty(); }

  // Both throw ERR_RANK_LOST when the connection is broken.
  void send_some();
  // False: the other side has closed it.
  bool receive_some(FrameSink& sink);
  // poll() says that there is something to receive when the rest of a frame has come, or, between frames, all
  // of the next one, whose payload is `due` bytes if it is known; not for every packet. Where less comes than
  // is due, whoever waits must look by himself in the end.
  void wake_after(size_t due);
  void close();

  // Since the last call.
  bool take_heard() { return std::exchange(heard_, false); }
  bool take_sent() { return std::exchange(sent_, false); }

 private:
  struct Outgoing {
    FrameHeader header;
    std::span<const uint8_t> payload;
    std::vector<uint8_t> owned;
    size_t sent = 0;  // of header and payload together
  };
  // Of one recv(): what came, 0 when nothing is there, −1 at the end.
  ssize_t receive_into(uint8_t* data, size_t size);
  void check_header() const;
  [[noreturn]] void broken(const std::string& why) const;

  const int rank_;
  const Descriptor socket_;
  const std::string name_;
  std::deque<Outgoing> outgoing_;

  FrameHeader header_;
  size_t have_ = 0;  // bytes of header and payload that have come
  uint8_t* payload_ = nullptr;
  size_t wake_after_ = 1;
  bool heard_ = false, sent_ = false;
};

}  // namespace kraken
