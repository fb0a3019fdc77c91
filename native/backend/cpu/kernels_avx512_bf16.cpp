// Compiled with AVX512_BF16 flags, called only when the CPU has it.
#include "backend/cpu/kernels_avx512_bf16.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)

#include <immintrin.h>

// GCC 12 takes the deliberately undefined operand of its own intrinsics for a mistake of ours (GCC bug
// 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "backend/cpu/exp2_avx512.h"

namespace kraken::cpu {
namespace {

// 32 bfloat16 as the float32 of the even and of the odd elements.
struct EvenOdd {
  __m512 even, odd;
};

inline EvenOdd split(__m512i pairs) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)),
          _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}

inline __m512i merge(EvenOdd v) {
  const __m512i halves =
      reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(v.odd, v.even));  // even 0..15, odd 16..31
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                         22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, halves);
}

inline __mmask32 first(int64_t count) {
  return count >= 32 ? ~__mmask32{0} : static_cast<__mmask32>((uint32_t{1} << count) - 1);
}

// x / (1 + 2^t)
inline __m512 divide_by_one_plus_exp2(__m512 x, __m512 t) {
  return _mm512_mul_ps(x, _mm512_rcp14_ps(_mm512_add_ps(_mm512_set1_ps(1.0f), exp2_short(t))));
}

inline __m512 gelu_of(__m512 x) {
  constexpr double kMinus2Log2E = -2.0 * 1.4426950408889634074, kRoot2OverPi = 0.79788456080286535588;
  const __m512 linear = _mm512_set1_ps(static_cast<float>(kMinus2Log2E * kRoot2OverPi));
  const __m512 cubic = _mm512_set1_ps(static_cast<float>(kMinus2Log2E * kRoot2OverPi * 0.044715));
  return divide_by_one_plus_exp2(x, _mm512_mul_ps(x, _mm512_fmadd_ps(_mm512_mul_ps(x, x), cubic, linear)));
}

void gelu_tanh(uint16_t* x, int64_t count) {
  for (int64_t i = 0; i < count; i += 32) {
    const __mmask32 mask = first(count - i);
    const EvenOdd v = split(_mm512_maskz_loadu_epi16(mask, x + i));
    _mm512_mask_storeu_epi16(x + i, mask, merge({gelu_of(v.even), gelu_of(v.odd)}));
  }
}

inline __m512 silu_times(__m512 gate, __m512 up) {
  const __m512 t = _mm512_mul_ps(gate, _mm512_set1_ps(-1.4426950408889634074f));
  return _mm512_mul_ps(divide_by_one_plus_exp2(gate, t), up);
}

void swiglu(const uint16_t* gate, const uint16_t* up, uint16_t* out, int64_t count) {
  for (int64_t i = 0; i < count; i += 32) {
    const __mmask32 mask = first(count - i);
    const EvenOdd g = split(_mm512_maskz_loadu_epi16(mask, gate + i)),
                  u = split(_mm512_maskz_loadu_epi16(mask, up + i));
    _mm512_mask_storeu_epi16(out + i, mask, merge({silu_times(g.even, u.even), silu_times(g.odd, u.odd)}));
  }
}

}  // namespace

Bf16Kernels avx512_bf16_kernels() {
  return {gelu_tanh, swiglu};
}

}  // namespace kraken::cpu

#else

namespace kraken::cpu {

Bf16Kernels avx512_bf16_kernels() {
  return {nullptr, nullptr};
}

}  // namespace kraken::cpu

#endif
