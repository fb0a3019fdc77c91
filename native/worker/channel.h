// One end of the socket between Node and kraken-worker: whole frames in both directions. Any thread may post
// a frame, and never waits for the other side; one thread pumps, which reads and sends what the socket did
// not take at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "base/descriptor.h"
#include "worker/messages.h"

namespace kraken {

// A connected pair, both closed by exec().
std::pair<Descriptor, Descriptor> make_socket_pair();

class Channel {
 public:
  using OnFrame = std::function<void(MessageType, Reader&)>;
  static constexpr std::chrono::milliseconds kForever{-1};

  // While more than `room` bytes are unsent, nothing is read, and wait_for_room() waits: what a side owes for
  // what it reads cannot grow without bound.
  explicit Channel(Descriptor socket, size_t room = SIZE_MAX);

  // After close() (or the other side's) it has no effect.
  void post(Frame frame);
  // For a thread that makes frames, not the pump's. False once closed.
  bool wait_for_room();

  // Waits up to `timeout` for something to happen and handles it: passes each frame that is complete to
  // on_frame, whose exceptions come through. False once nothing more will come. Throws ERR_RANK_LOST for a
  // frame that cannot be.
  bool pump(std::chrono::milliseconds timeout, const OnFrame& on_frame);
  // Sends what is unsent, as far as the other side takes it within `timeout`.
  void flush(std::chrono::milliseconds timeout);
  // Makes pump() return.
  void wake();
  size_t unsent();

  // The other side sees the end; pump() and wait_for_room() return false from now on.
  void close();

 private:
  void send_some();  // mutex_ held
  bool receive(const OnFrame& on_frame);
  void parse(const OnFrame& on_frame);

  const Descriptor socket_;
  Descriptor wake_reader_, wake_writer_;
  const size_t room_;

  std::mutex mutex_;
  std::condition_variable drained_;
  std::deque<std::vector<uint8_t>> outgoing_;
  size_t sent_ = 0;    // of the first
  size_t unsent_ = 0;  // of all
  bool closed_ = false;

  // The pump's. `incoming_` grows as bytes come, whatever a header announces.
  std::vector<uint8_t> incoming_, buffer_ = std::vector<uint8_t>(64 << 10);
};

}  // namespace kraken
