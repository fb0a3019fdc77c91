// Times: the fastest of a few rounds, as what else runs on a machine only ever adds.
#pragma once

#include <chrono>
#include <cmath>
#include <functional>
#include <string>

#include "communicators.h"

namespace kraken::test {

// How much is measured: all of it, or so little that a machine without a GPU can run the same code.
struct Scale {
  int64_t largest_bytes, tokens, width, copy_bytes;
  int turns;
};
constexpr Scale kFullScale = {int64_t{32} << 20, 2048, 4096, int64_t{256} << 20, 20};
constexpr Scale kSmallScale = {32 << 10, 4, 96, 1 << 16, 2};

// Microseconds of one call, of `turns` enqueued one after another.
double best_time(const std::function<void()>& call, cudaStream_t stream, int turns = 20);
// The same on all ranks at once: the slowest rank's.
double best_time(CommunicatorGroup& group, const std::function<void(int)>& call, int turns);

// GB/s that a copy from the first GPU to the second, or within the only one, moves.
double link_ceiling(const Scale& scale);

std::string size_name(int64_t bytes);
int compute_capability();

}  // namespace kraken::test
