// How the ranks of a group meet while a communicator is made: the caller's all-gather of small records, and
// whether there is still a group to wait for.
#pragma once

#include <cstdint>
#include <functional>
#include <type_traits>
#include <vector>

#include "common/error.h"

namespace kraken::plugins {

struct Rendezvous {
  int32_t rank = 0, ranks = 1;
  std::function<int32_t(const void* mine, void* all, int64_t bytes)> all_gather;
  std::function<bool()> is_lost = [] { return false; };

  // The records of all ranks; returns when all have come, so it is a barrier too.
  template <typename Record>
  std::vector<Record> gather(const Record& mine) const {
    static_assert(std::is_trivially_copyable_v<Record>);
    std::vector<Record> all(static_cast<size_t>(ranks), mine);
    if (ranks > 1 && all_gather(&mine, all.data(), sizeof(Record)) != 0) {
      throw PluginError("the ranks could not meet: one of them failed or is gone");
    }
    return all;
  }
};

}  // namespace kraken::plugins
