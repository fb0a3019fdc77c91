// A multicast address for each of a group's buffers. On the host the stand-in's; test/gpu has the driver's.
#pragma once

#include "ranks.h"

namespace kraken::test {

class Multicast {
 public:
  // Whether this machine can; if not, nothing below may be called.
  static bool is_available();
  // Sets multicast_send and multicast_receive of every rank.
  explicit Multicast(RankGroup& group);
  ~Multicast();
  Multicast(const Multicast&) = delete;
  Multicast& operator=(const Multicast&) = delete;

 private:
  std::vector<char> addresses_;  // never touched
  char* send_ = nullptr;
  char* receive_ = nullptr;
};

}  // namespace kraken::test
