// The connections of a rank, and how its communication thread waits for all of them at once.
#pragma once

#include <chrono>
#include <mutex>
#include <vector>

#include "comm/framed/connection.h"

namespace kraken {

// How much the ranks gain when something that comes is seen at once.
enum class Urgency {
  None,    // nobody here wants anything
  Idle,    // somebody waits for what another rank may say some time
  Hidden,  // an exchange is, while this rank computes
  Waited,  // a compute thread of this rank waits for it, so its core is free
};

class FrameTransport {
 public:
  virtual ~FrameTransport() = default;

  // Nothing for the own rank, and for one that was dropped.
  virtual Connection* to(int rank) = 0;
  virtual void drop(int rank) = 0;
  // Whether payloads of all that were dropped may be freed.
  virtual bool settled() const { return true; }

  // Whether any thread may use the connections, one at a time.
  virtual bool shared() const { return false; }

  // Returns the ranks whose connections may have something, when there are any, when wake() was called or at
  // `until`. A shared transport unlocks `connections` while it sleeps. Throws ERR_RANK_LOST.
  virtual std::vector<int> wait(std::chrono::steady_clock::time_point until, Urgency urgency,
                                std::unique_lock<std::mutex>& connections) = 0;
  // Ends the present or the next wait(). Any thread.
  virtual void wake() = 0;
};

}  // namespace kraken
