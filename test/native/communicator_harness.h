// What the communicators' tests share. A file per implementation instantiates CommunicatorSuite
// (communicator_test.cpp).
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/dtype.h"
#include "comm/communicator.h"

namespace kraken::test {

// The ranks of a group that live in this process: all of them, or the one that this process is, or none.
using Group = std::vector<std::unique_ptr<Communicator>>;

// What all ranks of a group can read and write, wherever they live.
struct SharedMemory {
  std::atomic<int> counter{0};
  int plain = 0;
};

struct CommunicatorKind {
  const char* name;
  Group (*make)(int ranks, bool communication);
  SharedMemory& (*shared)() = []() -> SharedMemory& {
    static SharedMemory memory;
    return memory;
  };
  int most_ranks = 8;
};

class CommunicatorSuite : public testing::TestWithParam<CommunicatorKind> {
 protected:
  static Group make_group(int ranks, bool communication = true) {
    if (ranks > GetParam().most_ranks) return {};
    return GetParam().make(ranks, communication);
  }
};

template <typename Kind>
std::string name_of_kind(const testing::TestParamInfo<Kind>& info) {
  return info.param.name;
}

// Runs `body` for every rank that lives here, each on a thread of its own.
template <typename Ranks, typename Body>
void on_all_ranks(Ranks& group, const Body& body) {
  std::vector<std::thread> threads;
  for (auto& communicator : group) threads.emplace_back([&body, &communicator] { body(*communicator); });
  for (std::thread& thread : threads) thread.join();
}

inline float sum_at(const Addends& addends, int64_t i) {
  float sum = 0;
  for (const float* addend : addends.float32) sum += addend[i];
  for (const uint16_t* addend : addends.bfloat16) sum += bfloat16_to_float(addend[i]);
  return sum;
}

}  // namespace kraken::test
