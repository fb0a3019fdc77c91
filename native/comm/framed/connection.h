// One connection to another rank, as whoever moves frames over it sees it: in both directions, without ever
// blocking, one thread at a time. Payloads are sent from where they lie and received where they are wanted.
// What carries them is the matter of tcp/ and mpi/.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

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
  // `name` is the other rank's place, for messages: host:port, or the host.
  Connection(int rank, std::string name) : rank_(rank), name_(std::move(name)) {}
  virtual ~Connection() = default;

  int rank() const { return rank_; }
  const std::string& name() const { return name_; }

  // The payload must stay until it is sent, or …
  void queue(FrameKind kind, uint64_t number, std::span<const uint8_t> payload);
  // … belongs to the frame.
  void queue_owned(FrameKind kind, uint64_t number, std::vector<uint8_t> payload);
  bool unsent() const { return !outgoing_.empty(); }

  // These throw ERR_RANK_LOST when the connection is broken.
  virtual void send_some() = 0;
  // False: the other side has closed it.
  virtual bool receive_some(FrameSink& sink) = 0;
  // What wakes whoever waits for several connections does so when the rest of a frame has come, or, between
  // frames, all of the next one, whose payload is `due` bytes if it is known; not for every packet. Where
  // less comes than is due, whoever waits must look by himself in the end. Of use only where something wakes.
  virtual void wake_after(size_t /*due*/) {}
  // While nobody waits, and who will does look by himself: not before what comes must be taken off.
  virtual void wake_when_filling() {}
  // Says that this rank lives, unless something else has said so since the last time.
  virtual void beat() = 0;
  // Sends what is unsent and then ends this side; drops what comes. True: the other side has ended, too.
  virtual bool finish() = 0;

  virtual void close() = 0;

  // When the last of what receive_some() has passed on came.
  virtual std::chrono::steady_clock::time_point came() const { return std::chrono::steady_clock::now(); }

  // Since the last call.
  bool take_heard() { return std::exchange(heard_, false); }

 protected:
  struct Outgoing {
    FrameHeader header;
    std::span<const uint8_t> payload;
    std::vector<uint8_t> owned;
    size_t sent = 0;  // of header and payload together
  };

  // Throws ERR_RANK_LOST.
  void check_header(const FrameHeader& header) const;
  [[noreturn]] void broken(const std::string& why) const;

  std::deque<Outgoing> outgoing_;
  bool heard_ = false;

 private:
  const int rank_;
  const std::string name_;
};

}  // namespace kraken
