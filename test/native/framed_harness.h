// What the tests of communicators between processes share. A file per transport instantiates FramedSuite
// (framed_communicator_test.cpp).
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "base/error.h"
#include "comm/framed/framed_communicator.h"
#include "communicator_harness.h"

namespace kraken::test {

using FramedGroup = std::vector<std::unique_ptr<FramedCommunicator>>;

struct FramedKind {
  const char* name;
  FramedGroup (*make)(int ranks, FramedGroupOptions options);
  int most_ranks = 8;
};

class FramedSuite : public testing::TestWithParam<FramedKind> {
 protected:
  static FramedGroup make_group(int ranks, const FramedGroupOptions& options = {}) {
    if (ranks > GetParam().most_ranks) return {};
    return GetParam().make(ranks, options);
  }
};

inline Group as_group(FramedGroup&& framed) {
  Group group;
  for (auto& communicator : framed) group.push_back(std::move(communicator));
  return group;
}

inline std::string failure_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code() + ": " + error.what();
  }
  return "nothing";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace kraken::test
