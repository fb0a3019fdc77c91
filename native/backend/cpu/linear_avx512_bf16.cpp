// Tiles of bfloat16 products with float32 sums, for CPUs with AVX512_BF16. Compiled with those flags and
// reached only when the CPU has them. A word is a pair along k, the unit of vdpbf16ps; the last pair of an
// odd k holds a zero.
#include "backend/cpu/linear_panels.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)

#include <immintrin.h>

#include <cstring>

#include "backend/cpu/unroll.h"

// GCC 12 takes the deliberately undefined operand of its own intrinsics for a mistake of ours (GCC bug
// 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace kraken::cpu {
namespace {

inline __m512 dot(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

struct BFloat16Tile {
  static constexpr int kLanes = 16, kPanelVectors = 4;

  // The first `count` values, or all 16, to element `at` of y.
  static void store(const TileJob& job, int64_t at, int count, __m512 values) {
    const auto mask = static_cast<__mmask16>((1u << (count & (kLanes - 1))) - 1);
    if (job.bfloat16_output) {
      const __m256i halves = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values));
      auto* y = static_cast<uint16_t*>(job.y) + at;
      if (count < kLanes) return _mm256_mask_storeu_epi16(y, mask, halves);
      return _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), halves);
    }
    auto* y = static_cast<float*>(job.y) + at;
    if (count < kLanes) return _mm512_mask_storeu_ps(y, mask, values);
    _mm512_storeu_ps(y, values);
  }

  template <int kRows, int kVectors, int kLines>
  static void multiply(const TileJob& job) {
    __m512 sum[kRows][kVectors];
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
    }
    const auto* x = static_cast<const uint16_t*>(job.x);
    const std::byte *weights = job.panel, *fetch = job.fetch;
    const auto step = [&](const auto& pair_at) {
      KRAKEN_UNROLL
      for (int line = 0; line < kLines; ++line) fetch_to_second_level(fetch + line * kCacheLine);
      fetch += job.fetch_bytes;
      __m512i weight[kVectors];
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) weight[v] = _mm512_load_si512(weights + v * sizeof(__m512i));
      weights += kPanelVectors * sizeof(__m512i);
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const __m512i pair = _mm512_set1_epi32(pair_at(x + r * job.k));
        KRAKEN_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = dot(sum[r][v], pair, weight[v]);
      }
    };
    const uint16_t* last_pair = x + job.k / 2 * 2;
    for (; x < last_pair; x += 2) {
      step([](const uint16_t* at) {
        int pair;
        std::memcpy(&pair, at, sizeof(pair));
        return pair;
      });
    }
    if (job.k % 2 != 0) step([](const uint16_t* at) { return int{*at}; });

    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        if (job.bias != nullptr) sum[r][v] = _mm512_add_ps(sum[r][v], _mm512_loadu_ps(job.bias + v * kLanes));
        store(job, r * job.n + v * kLanes, job.columns - v * kLanes, sum[r][v]);
      }
    }
  }
};

}  // namespace

PanelKernel avx512_bf16_panel_kernel() {
  return panel_kernel_of<BFloat16Tile>("avx512_bf16:panels");
}

}  // namespace kraken::cpu

#else

namespace kraken::cpu {

PanelKernel avx512_bf16_panel_kernel() {
  return {};
}

}  // namespace kraken::cpu

#endif
