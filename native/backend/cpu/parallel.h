// Loops over the calling thread's OpenMP team, kept out of the per-target code: an outlined OpenMP function
// would not reliably inherit the instruction set chosen by Highway's pragmas.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace kraken::cpu {

// Below this much work (roughly, operations) a fork and join costs more than it saves.
inline constexpr int64_t kParallelWork = int64_t{1} << 16;

// Calls body(i) for i in [0, count). `work`: operations of one i.
template <typename Body>
void parallel_for(int64_t count, int64_t work, const Body& body) {
  if (count > 1 && omp_get_max_threads() > 1 && count * work >= kParallelWork) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i) body(i);
  } else {
    for (int64_t i = 0; i < count; ++i) body(i);
  }
}

// Calls body(begin, end) on contiguous parts of [0, count), one per thread.
template <typename Body>
void parallel_ranges(int64_t count, int64_t work, const Body& body) {
  const int threads = omp_get_max_threads();
  if (count > 1 && threads > 1 && count * work >= kParallelWork) {
    const int64_t parts = std::min<int64_t>(threads, count);
#pragma omp parallel for schedule(static)
    for (int64_t part = 0; part < parts; ++part) body(count * part / parts, count * (part + 1) / parts);
  } else if (count > 0) {
    body(int64_t{0}, count);
  }
}

}  // namespace kraken::cpu
