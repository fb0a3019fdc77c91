// Per target: one row of activations to int8 (quantised_rows.h). Included once per target.
#if defined(KRAKEN_CPU_QUANTISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KRAKEN_CPU_QUANTISE_INL_H_
#undef KRAKEN_CPU_QUANTISE_INL_H_
#else
#define KRAKEN_CPU_QUANTISE_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "backend/cpu/quantised_rows.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

using DB = hn::Rebind<uint8_t, DF>;

// Magnitudes are compared as integers: those of floats are in order and NaN is above infinity, so no maximum
// can lose one. Vectors may overlap at the end of a row.
template <typename T>
HWY_INLINE float largest_magnitude(const T* x, int64_t width) {
  using Bits = hwy::MakeSigned<T>;
  const hn::ScalableTag<T> dt;
  const hn::RebindToSigned<decltype(dt)> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto magnitudes = [&](const T* at) {
    return hn::And(hn::BitCast(d, hn::LoadU(dt, at)), hn::Set(d, hwy::LimitsMax<Bits>()));
  };
  auto largest0 = hn::Zero(d), largest1 = hn::Zero(d);
  if (width < lanes) {
    HWY_ALIGN T few[HWY_MAX_BYTES / sizeof(T)] = {};
    std::memcpy(few, x, static_cast<size_t>(width) * sizeof(T));
    largest0 = magnitudes(few);
  } else {
    for (int64_t i = 0; i + 2 * lanes <= width; i += 2 * lanes) {
      largest0 = hn::Max(largest0, magnitudes(x + i));
      largest1 = hn::Max(largest1, magnitudes(x + i + lanes));
    }
    if (width % (2 * lanes) >= lanes) {
      largest0 = hn::Max(largest0, magnitudes(x + width / (2 * lanes) * (2 * lanes)));
    }
    largest1 = hn::Max(largest1, magnitudes(x + width - lanes));
  }
  HWY_ALIGN Bits lane[HWY_MAX_BYTES / sizeof(Bits)];
  hn::Store(hn::Max(largest0, largest1), d, lane);
  const auto bits = static_cast<uint32_t>(*std::max_element(lane, lane + lanes));
  return std::bit_cast<float>(bits << 8 * (sizeof(float) - sizeof(T)));  // bfloat16: the upper half
}

// 128 + x · factor, rounded: adding 1.5·2²³ leaves a whole number in the lowest bits.
HWY_INLINE hn::Vec<DB> quantised_bytes(VF x, VF factor) {
  const VF shifted = hn::MulAdd(x, factor, hn::Set(DF(), 0x1.8p23f + kQuantisedZero));
  return hn::TruncateTo(DB(), hn::BitCast(DU(), shifted));
}

template <typename T>
HWY_INLINE void quantise_row(const T* x, int64_t width, uint8_t* out) {
  const DB db;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(DF()));
  const float largest = largest_magnitude(x, width);
  float scale = largest / 127.0f, inverse = 127.0f / largest;
  if (scale < std::numeric_limits<float>::min()) scale = inverse = 0.0f;  // the inverse would not be finite
  const VF factor = hn::Set(DF(), inverse);
  if (width < lanes) {
    HWY_ALIGN uint8_t few[HWY_MAX_BYTES / sizeof(float)];
    hn::Store(quantised_bytes(load_tail(x, static_cast<size_t>(width)), factor), db, few);
    std::memcpy(out, few, static_cast<size_t>(width));
  } else {
    for (int64_t i = 0; i + lanes <= width; i += lanes) {
      hn::StoreU(quantised_bytes(load(x + i), factor), db, out + i);
    }
    hn::StoreU(quantised_bytes(load(x + width - lanes), factor), db, out + width - lanes);
  }
  std::memcpy(out + quantised_row_bytes(width) - sizeof scale, &scale, sizeof scale);
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();
#endif
