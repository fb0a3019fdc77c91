// What the communicators' tests share. A file per implementation instantiates CommunicatorSuite
// (communicator_test.cpp).
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/dtype.h"
#include "comm/communicator.h"

namespace kraken::test {

using Group = std::vector<std::unique_ptr<Communicator>>;

struct CommunicatorKind {
  const char* name;
  Group (*make)(int ranks, bool communication);
};

class CommunicatorSuite : public testing::TestWithParam<CommunicatorKind> {
 protected:
  static Group make_group(int ranks, bool communication = true) {
    return GetParam().make(ranks, communication);
  }
};

inline void on_all_ranks(Group& group, const std::function<void(Communicator&)>& body) {
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
