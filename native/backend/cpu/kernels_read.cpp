// Reading memory as fast as this machine can, which is what bounds decoding.
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/kernels_read.cpp"
// The order matters.
// clang-format off
#include "backend/cpu/highway_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/unroll.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

uint64_t fold(const uint64_t* words, int64_t count) {
  constexpr int kChains = 4;
  constexpr int64_t kWordsAhead = 512;  // the hardware's own fetching alone is up to a tenth slower
  const hn::ScalableTag<uint64_t> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  hn::Vec<decltype(d)> chain[kChains];
  KRAKEN_UNROLL
  for (int c = 0; c < kChains; ++c) chain[c] = hn::Zero(d);
  int64_t i = 0;
  for (; i + kChains * lanes <= count; i += kChains * lanes) {
    KRAKEN_UNROLL
    for (int c = 0; c < kChains; ++c) {
      __builtin_prefetch(words + i + c * lanes + kWordsAhead, 0, 2);
      chain[c] = hn::Xor(chain[c], hn::LoadU(d, words + i + c * lanes));
    }
  }
  const auto all = hn::Xor(hn::Xor(chain[0], chain[1]), hn::Xor(chain[2], chain[3]));
  HWY_ALIGN uint64_t lane[HWY_MAX_BYTES / sizeof(uint64_t)];
  hn::Store(all, d, lane);
  uint64_t folded = 0;
  for (int64_t l = 0; l < lanes; ++l) folded ^= lane[l];
  for (; i < count; ++i) folded ^= words[i];
  return folded;
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <atomic>

#include "backend/cpu/instruction_set.h"
#include "backend/cpu/parallel.h"

namespace kraken::cpu {
namespace {

HWY_EXPORT(fold);

}  // namespace

uint64_t fold_words(const uint64_t* words, int64_t count) {
  cap_highway_targets();
  std::atomic<uint64_t> folded{0};
  parallel_ranges(count, 1, [&](int64_t begin, int64_t end) {
    folded.fetch_xor(HWY_DYNAMIC_DISPATCH(fold)(words + begin, end - begin), std::memory_order_relaxed);
  });
  return folded.load(std::memory_order_relaxed);
}

}  // namespace kraken::cpu
#endif  // HWY_ONCE
