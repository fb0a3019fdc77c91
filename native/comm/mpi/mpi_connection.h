// A connection of MPI messages. A frame is one message if it is small, else its header and its payload are
// one each; a message without content ends the connection. Signs of life have a tag of their own, because a
// large payload on its way would hold them back.
#pragma once

#include <mpi.h>

#include <array>
#include <chrono>

#include "comm/framed/connection.h"

namespace kraken {

// Where an engine's messages travel. Ranks are those of the communicator.
struct MpiChannel {
  MPI_Comm communicator = MPI_COMM_NULL;
  int tag = 0;  // and the one after it
};

class MpiConnection final : public Connection {
 public:
  MpiConnection(const MpiChannel& channel, int rank, std::string name);

  void send_some() override;
  bool receive_some(FrameSink& sink) override;
  void beat() override;
  bool finish() override;
  void close() override;

  // Asks MPI, which moves bytes only while it is asked. True: something has come, or gone.
  bool look();
  // Ends what is under way. False: that was not possible by then, and MPI may still use this object's memory
  // and that of payloads.
  bool settle(std::chrono::steady_clock::time_point deadline) noexcept;

 private:
  static constexpr size_t kSmall = 4096;  // bytes of a payload that travels with its header
  struct Sending {
    std::vector<uint8_t> small;
    MPI_Request header = MPI_REQUEST_NULL, payload = MPI_REQUEST_NULL;
  };

  void expect_header();
  void expect_beat();
  void take(FrameSink& sink);
  void send(const void* bytes, size_t count, MPI_Request& request) const;
  void send_nothing(int tag) const;

  const MpiChannel channel_;
  std::deque<Sending> sending_;  // what outgoing_ begins with
  std::array<uint8_t, sizeof(FrameHeader) + kSmall> incoming_;
  FrameHeader header_;
  MPI_Request receiving_ = MPI_REQUEST_NULL, beating_ = MPI_REQUEST_NULL;
  int came_ = -1;       // bytes of the message that has come; −1: none has
  bool large_ = false;  // what comes next is a payload
  bool beat_came_ = false;
  bool closed_ = false, ended_ = false;  // this side, the other
};

}  // namespace kraken
