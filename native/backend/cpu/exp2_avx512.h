// Exponential for translation units compiled for AVX-512.
#pragma once

#include <immintrin.h>

namespace kraken::cpu {
namespace {

// 2^x to 9e-05, far below bfloat16's rounding; 0 for -∞, ∞ for large x, exactly 1 for 0. The polynomial sees
// the fraction in [0, 1) (0 for infinities), vscalef takes the whole part itself.
inline __m512 exp2_short(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0x1.3baab4p-4f), f, _mm512_set1_ps(0x1.d23782p-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.63e65ap-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, x);
}

}  // namespace
}  // namespace kraken::cpu
