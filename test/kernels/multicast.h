// A multicast address for each of a group's buffers. On the host the stand-in's; test/gpu has the driver's.
#pragma once

#include "ranks.h"

namespace kraken::test {

class Multicast {
 public:
  // Whether this machine can for so many ranks; if not, nothing below may be called.
  static bool is_available(int ranks);
  // Sets multicast_send and multicast_receive of every rank, and may put the group's buffers elsewhere; it
  // must not outlive the group, nor the group be used after it.
  explicit Multicast(RankGroup& group);
  ~Multicast();
  Multicast(const Multicast&) = delete;
  Multicast& operator=(const Multicast&) = delete;

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

}  // namespace kraken::test
