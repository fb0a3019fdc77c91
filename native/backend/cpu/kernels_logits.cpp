// What sampling needs of a row of logits.
#include <cmath>
#include <cstdint>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/kernels_logits.cpp"
// The order matters.
// clang-format off
#include "backend/cpu/highway_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

float largest_of(const float* logits, int64_t n) {
  const DF df;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(df));
  float largest = -std::numeric_limits<float>::infinity();
  int64_t i = 0;
  VF most = hn::Set(df, largest);
  for (; i + lanes <= n; i += lanes) most = hn::Max(most, load(logits + i));
  largest = hn::GetLane(hn::MaxOfLanes(df, most));
  for (; i < n; ++i) largest = logits[i] > largest ? logits[i] : largest;
  return largest;
}

int32_t argmax_of(const float* logits, int64_t n) {
  const DF df;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(df));
  const float largest = largest_of(logits, n);
  const VF wanted = hn::Set(df, largest);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    if (!hn::AllFalse(df, hn::Eq(load(logits + i), wanted))) break;
  }
  for (; i < n; ++i) {
    if (logits[i] == largest) return static_cast<int32_t>(i);
  }
  return 0;
}

// Lanes add up short stretches in float32; the stretches add up in float64.
float log_sum_exp_of(const float* logits, int64_t n) {
  const DF df;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(df)), stretch = 32 * lanes;
  const float largest = largest_of(logits, n);
  if (!std::isfinite(largest)) return largest;
  const VF shift = hn::Set(df, largest), log2e = hn::Set(df, 1.4426950408889634074f);
  const auto term = [&](VF v) { return exp2<6>(hn::Mul(hn::Sub(v, shift), log2e)); };
  double total = 0.0;
  int64_t i = 0;
  while (i + lanes <= n) {
    VF sum = hn::Zero(df);
    for (int64_t end = i + stretch; i < end && i + lanes <= n; i += lanes)
      sum = hn::Add(sum, term(load(logits + i)));
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(df, sum)));
  }
  if (i < n) {
    const size_t rest = static_cast<size_t>(n - i);
    const VF sum = hn::IfThenElseZero(hn::FirstN(df, rest), term(load_tail(logits + i, rest)));
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(df, sum)));
  }
  return static_cast<float>(static_cast<double>(largest) + std::log(total));
}

const char* target_name() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/instruction_set.h"

namespace kraken::cpu {
namespace {

HWY_EXPORT(argmax_of);
HWY_EXPORT(log_sum_exp_of);
HWY_EXPORT(target_name);

}  // namespace

int32_t argmax(const float* logits, int64_t n) {
  cap_highway_targets();
  return HWY_DYNAMIC_DISPATCH(argmax_of)(logits, n);
}

float log_sum_exp(const float* logits, int64_t n) {
  cap_highway_targets();
  return HWY_DYNAMIC_DISPATCH(log_sum_exp_of)(logits, n);
}

const char* highway_target() {
  cap_highway_targets();
  return HWY_DYNAMIC_DISPATCH(target_name)();
}

}  // namespace kraken::cpu
#endif  // HWY_ONCE
