// Per target: one row of activations to int8 (quantised_rows.h). Included once per target.
#if defined(KRAKEN_CPU_QUANTISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KRAKEN_CPU_QUANTISE_INL_H_
#undef KRAKEN_CPU_QUANTISE_INL_H_
#else
#define KRAKEN_CPU_QUANTISE_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "backend/cpu/quantised_rows.h"
#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

using DB = hn::Rebind<uint8_t, DF>;

// As integers, magnitudes of floats are in order and NaN is above infinity: no maximum can lose one.
HWY_INLINE hn::Vec<DI> magnitude_bits(VF v) {
  return hn::BitCast(DI(), hn::Abs(v));
}

template <typename T>
HWY_INLINE float largest_magnitude(const T* x, int64_t width) {
  const DI di;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(di));
  auto largest0 = hn::Zero(di), largest1 = hn::Zero(di);
  int64_t i = 0;
  for (; i + 2 * lanes <= width; i += 2 * lanes) {
    largest0 = hn::Max(largest0, magnitude_bits(load(x + i)));
    largest1 = hn::Max(largest1, magnitude_bits(load(x + i + lanes)));
  }
  if (i + lanes <= width) {
    largest0 = hn::Max(largest0, magnitude_bits(load(x + i)));
    i += lanes;
  }
  if (i < width)
    largest1 = hn::Max(largest1, magnitude_bits(load_tail(x + i, static_cast<size_t>(width - i))));
  return hn::GetLane(hn::BitCast(DF(), hn::MaxOfLanes(di, hn::Max(largest0, largest1))));
}

template <typename T>
HWY_INLINE void quantise_row(const T* x, int64_t width, uint8_t* out) {
  const DF df;
  const DI di;
  const DB db;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(df));
  const float largest = largest_magnitude(x, width);
  float scale = largest / 127.0f, inverse = 127.0f / largest;
  if (scale < std::numeric_limits<float>::min()) scale = inverse = 0.0f;  // the inverse would not be finite
  const VF factor = hn::Set(df, inverse);
  const auto zero = hn::Set(di, kQuantisedZero);
  const auto quantised = [&](VF v) {
    return hn::DemoteTo(db, hn::Add(hn::NearestInt(hn::Mul(v, factor)), zero));
  };
  int64_t i = 0;
  for (; i + lanes <= width; i += lanes) hn::StoreU(quantised(load(x + i)), db, out + i);
  if (i < width) {
    HWY_ALIGN uint8_t tail[HWY_MAX_BYTES / sizeof(float)];
    hn::Store(quantised(load_tail(x + i, static_cast<size_t>(width - i))), db, tail);
    std::memcpy(out + i, tail, static_cast<size_t>(width - i));
  }
  std::memcpy(out + quantised_row_bytes(width) - sizeof scale, &scale, sizeof scale);
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();
#endif
