// Per-target helpers over Highway: exact tails without reading or writing past the end, bfloat16 memory (and
// float16, to read) as float32 vectors, and exponentials. Included once per target.
#if defined(KRAKEN_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KRAKEN_CPU_SIMD_INL_H_
#undef KRAKEN_CPU_SIMD_INL_H_
#else
#define KRAKEN_CPU_SIMD_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
using DH = hn::Rebind<uint16_t, DF>;  // as many 16-bit lanes as floats in a vector
using VF = hn::Vec<DF>;

// Whether masked loads and stores of 32- and 16-bit lanes touch nothing beyond the mask.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
inline constexpr bool kMaskedMemory = true;
#else
inline constexpr bool kMaskedMemory = false;
#endif

HWY_INLINE VF widen_bf16(hn::Vec<DH> bits) {
  const DU du;
  return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
}

// Round to nearest, ties to even; NaN stays NaN.
HWY_INLINE hn::Vec<DH> round_to_bf16(VF v) {
  const DU du;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(du, 0x7fffu)), odd));
  const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(du, 0x40u));
  const auto is_nan = hn::RebindMask(du, hn::IsNaN(v));
  return hn::TruncateTo(DH(), hn::IfThenElse(is_nan, quiet, rounded));
}

// What memory in float16 is typed as, since uint16_t is bfloat16.
using Half = hwy::float16_t;

// Of finite values: not every target keeps the others.
HWY_INLINE VF widen_f16(hn::Vec<DH> bits) {
  return hn::PromoteTo(DF(), hn::BitCast(hn::Rebind<Half, DF>(), bits));
}

HWY_INLINE VF load(const float* p) {
  return hn::LoadU(DF(), p);
}
HWY_INLINE VF load(const uint16_t* p) {
  return widen_bf16(hn::LoadU(DH(), p));
}
HWY_INLINE VF load(const Half* p) {
  return widen_f16(hn::LoadU(DH(), reinterpret_cast<const uint16_t*>(p)));
}
HWY_INLINE void store(VF v, float* p) {
  hn::StoreU(v, DF(), p);
}
HWY_INLINE void store(VF v, uint16_t* p) {
  hn::StoreU(round_to_bf16(v), DH(), p);
}

// The first `count` lanes, zeros above; 0 < count < Lanes.
HWY_INLINE VF load_tail(const float* p, size_t count) {
  const DF df;
  if constexpr (kMaskedMemory) return hn::MaskedLoad(hn::FirstN(df, count), df, p);
  HWY_ALIGN float buffer[HWY_MAX_BYTES / sizeof(float)] = {};
  std::memcpy(buffer, p, count * sizeof(float));
  return hn::Load(df, buffer);
}
HWY_INLINE hn::Vec<DH> load_bits_tail(const uint16_t* p, size_t count) {
  const DH dh;
  if constexpr (kMaskedMemory) return hn::MaskedLoad(hn::FirstN(dh, count), dh, p);
  HWY_ALIGN uint16_t buffer[HWY_MAX_BYTES / sizeof(uint16_t)] = {};
  std::memcpy(buffer, p, count * sizeof(uint16_t));
  return hn::Load(dh, buffer);
}
HWY_INLINE VF load_tail(const uint16_t* p, size_t count) {
  return widen_bf16(load_bits_tail(p, count));
}
HWY_INLINE VF load_tail(const Half* p, size_t count) {
  return widen_f16(load_bits_tail(reinterpret_cast<const uint16_t*>(p), count));
}
HWY_INLINE void store_tail(VF v, float* p, size_t count) {
  const DF df;
  if constexpr (kMaskedMemory) {
    hn::BlendedStore(v, hn::FirstN(df, count), df, p);
  } else {
    HWY_ALIGN float buffer[HWY_MAX_BYTES / sizeof(float)];
    hn::Store(v, df, buffer);
    std::memcpy(p, buffer, count * sizeof(float));
  }
}
HWY_INLINE void store_tail(VF v, uint16_t* p, size_t count) {
  const DH dh;
  if constexpr (kMaskedMemory) {
    hn::BlendedStore(round_to_bf16(v), hn::FirstN(dh, count), dh, p);
  } else {
    HWY_ALIGN uint16_t buffer[HWY_MAX_BYTES / sizeof(uint16_t)];
    hn::Store(round_to_bf16(v), dh, buffer);
    std::memcpy(p, buffer, count * sizeof(uint16_t));
  }
}

// 2^x by a polynomial of degree `kDegree` on [-½, ½] (relative error: 6 → 2e-9, 3 → 1e-4), exactly 0 below
// -126 and for -∞, saturating at 2^127·√2; x = 0 gives exactly 1.
template <int kDegree>
HWY_INLINE VF exp2(VF x) {
  const DF df;
  const DI di;
  const auto too_small = hn::Lt(x, hn::Set(df, -126.0f));
  const VF clamped = hn::Max(hn::Min(x, hn::Set(df, 127.49f)), hn::Set(df, -126.0f));
  // Adding 1.5·2^23 leaves the nearest whole number in the lowest bits.
  const VF magic = hn::Set(df, 0x1.8p23f);
  const VF shifted = hn::Add(clamped, magic);
  const VF f = hn::Sub(clamped, hn::Sub(shifted, magic));
  VF p;
  if constexpr (kDegree == 6) {
    p = hn::MulAdd(hn::Set(df, 0x1.41fbbcp-13f), f, hn::Set(df, 0x1.5f3e54p-10f));
    p = hn::MulAdd(p, f, hn::Set(df, 0x1.3b2d4cp-7f));
    p = hn::MulAdd(p, f, hn::Set(df, 0x1.c6aee8p-5f));
    p = hn::MulAdd(p, f, hn::Set(df, 0x1.ebfbdcp-3f));
    p = hn::MulAdd(p, f, hn::Set(df, 0x1.62e430p-1f));
  } else {
    static_assert(kDegree == 3);
    p = hn::MulAdd(hn::Set(df, 0x1.c2a212p-5f), f, hn::Set(df, 0x1.f00c50p-3f));
    p = hn::MulAdd(p, f, hn::Set(df, 0x1.62f5fap-1f));
  }
  p = hn::MulAdd(p, f, hn::Set(df, 1.0f));
  const VF scaled = hn::BitCast(df, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
  return hn::IfThenZeroElse(too_small, scaled);
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();
#endif
