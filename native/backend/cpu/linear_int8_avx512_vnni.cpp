// Tiles of int8 products for CPUs with AVX512_VNNI. Compiled with those flags and reached only when the CPU
// has them.
#include "backend/cpu/linear_panels.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)

#include <immintrin.h>

#include <cstring>

// GCC 12 takes the deliberately undefined operand of its own intrinsics for a mistake of ours (GCC bug
// 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "backend/cpu/quantised_rows.h"
#include "backend/cpu/unroll.h"

namespace kraken::cpu {
namespace {

// sum + the products of four unsigned and four signed bytes. Not the intrinsic: GCC 12 copies its accumulator
// through memory in a tile as large as ours, at half the speed.
[[gnu::always_inline]] inline void add_dot(__m512i& sum, __m512i bytes, __m512i weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(bytes), "v"(weights));
}

// In the upper half of every word: rounded to nearest, ties to even; NaN stays NaN.
inline __m512i rounded_to_bfloat16(__m512 values) {
  const __m512i bits = _mm512_castps_si512(values);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 is_nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x400000));
}

inline __m256i to_bfloat16(__m512 values) {
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded_to_bfloat16(values), 16));
}

struct Int8Tile {
  static constexpr int kLanes = 16, kPanelVectors = 4;

  // The first `count` values, or all 16. Whole stores where possible: masked ones are slower.
  static void store(float* y, int count, __m512 values) {
    if (count >= kLanes) return _mm512_storeu_ps(y, values);
    _mm512_mask_storeu_ps(y, static_cast<__mmask16>((1u << count) - 1), values);
  }
  static void store(uint16_t* y, int count, __m512 values) {
    if (count >= kLanes) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), to_bfloat16(values));
    _mm256_mask_storeu_epi16(y, static_cast<__mmask16>((1u << count) - 1), to_bfloat16(values));
  }

  template <int kRows, int kVectors, typename Out>
  [[gnu::always_inline]] static void finish(const TileJob& job, const __m512i (&sum)[kRows][kVectors],
                                            Out* y) {
    const int64_t pitch = quantised_row_bytes(job.k);
    const auto* const rows = static_cast<const uint8_t*>(job.x);
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const __m512 column_scale = _mm512_loadu_ps(job.scales + v * kLanes);
      const __m512 bias = job.bias != nullptr ? _mm512_loadu_ps(job.bias + v * kLanes) : _mm512_setzero_ps();
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const __m512 row_scale = _mm512_set1_ps(quantised_row_scale(rows + r * pitch, job.k));
        const __m512 scaled =
            _mm512_mul_ps(_mm512_cvtepi32_ps(sum[r][v]), _mm512_mul_ps(row_scale, column_scale));
        store(y + r * job.n + v * kLanes, job.columns - v * kLanes, _mm512_add_ps(scaled, bias));
      }
    }
  }

  template <int kRows, int kVectors, int kLines>
  static void multiply(const TileJob& given) {
    const TileJob job = given;  // a copy, which no store can be thought to change
    __m512i sum[kRows][kVectors];
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_loadu_si512(job.zero_sums + v * kLanes);
    }
    const int64_t pitch = quantised_row_bytes(job.k);
    const auto* const rows = static_cast<const uint8_t*>(job.x);
    const std::byte *weights = job.panel, *fetch = job.fetch;
    for (int64_t k = 0; k < job.k; k += kPanelWordBytes) {  // past an end within a word, weights are zero
      KRAKEN_UNROLL
      for (int line = 0; line < kLines; ++line) fetch_to_second_level(fetch + line * kCacheLine);
      fetch += job.fetch_bytes;
      __m512i weight[kVectors];
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) weight[v] = _mm512_load_si512(weights + v * sizeof(__m512i));
      weights += kPanelVectors * sizeof(__m512i);
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        int word;
        std::memcpy(&word, rows + r * pitch + k, sizeof word);
        const __m512i bytes = _mm512_set1_epi32(word);
        KRAKEN_UNROLL
        for (int v = 0; v < kVectors; ++v) add_dot(sum[r][v], bytes, weight[v]);
      }
    }
    if (job.bfloat16_output) {
      finish(job, sum, static_cast<uint16_t*>(job.y));
    } else {
      finish(job, sum, static_cast<float*>(job.y));
    }
  }
};

}  // namespace

PanelKernel avx512_vnni_panel_kernel() {
  return panel_kernel_of<Int8Tile>("avx512_vnni:panels");
}

}  // namespace kraken::cpu

#else

namespace kraken::cpu {

PanelKernel avx512_vnni_panel_kernel() {
  return {};
}

}  // namespace kraken::cpu

#endif
