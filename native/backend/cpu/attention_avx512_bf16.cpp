// Attention in bfloat16 with float32 sums, for CPUs with AVX512_BF16. Compiled with those flags and reached
// only when the CPU has them. K [ceil(head_dim / 2)][64 tokens][2], V [64 / 2 tokens][head_dim to 16][2]: a
// pair is one 32-bit unit of vdpbf16ps. The last pair of an odd head_dim holds a zero in K and in the query;
// the last pair of an odd number of tokens holds a zero in V, because 0 · what an earlier user of the block
// left there could be NaN.
#include "backend/cpu/attention_kernels.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)

#include <immintrin.h>

#include <cstring>

#include "backend/cpu/exp2_avx512.h"
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

inline __mmask32 first_halves(int count) {
  if (count <= 0) return 0;
  return count >= 32 ? ~__mmask32{0} : static_cast<__mmask32>((uint32_t{1} << count) - 1);
}

template <int kRows, int kVectors>
void score_tile(const RowGroup& group, const uint32_t* k, int position, float* scores,
                float (*maxima)[kMostLanes]) {
  __m512 sum[kRows][kVectors];
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  const auto* q = reinterpret_cast<const int*>(group.query);
  const int units = (group.head_dim + 1) / 2;
  const int pitch = group.padded / 2;
  for (int unit = 0; unit < units; ++unit, k += kCacheBlock, ++q) {
    __m512i key[kVectors];
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) key[v] = _mm512_loadu_si512(k + v * 16);
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const __m512i query = _mm512_set1_epi32(q[r * pitch]);
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = dot(sum[r][v], query, key[v]);
    }
  }
  if (position + kVectors * 16 > group.keys[0]) {
    const __m512 never = _mm512_set1_ps(-__builtin_inff());
    const __m512i index = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const __m512i seen = _mm512_set1_epi32(group.keys[r] - position - v * 16);
        sum[r][v] = _mm512_mask_blend_ps(_mm512_cmplt_epi32_mask(index, seen), never, sum[r][v]);
      }
    }
  }
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    __m512 most = _mm512_load_ps(maxima[r]);
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      most = _mm512_max_ps(most, sum[r][v]);
      _mm512_store_ps(scores + r * kKeyBlock + v * 16, sum[r][v]);
    }
    _mm512_store_ps(maxima[r], most);
  }
}

template <int kRows, int kVectors>
void value_tile(const RowGroup& group, const std::byte* const* v_blocks, int columns,
                const int* probabilities, bool first, int dim) {
  __m512 sum[kRows][kVectors];
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const __m512 rescale = _mm512_set1_ps(group.rescale[r]);
    const float* old = group.sum_of_values + r * group.padded + dim;
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = first ? _mm512_setzero_ps() : _mm512_mul_ps(_mm512_load_ps(old + v * 16), rescale);
    }
  }
  const int pairs = (columns + 1) / 2;
  for (int at = 0; at < pairs; at += kCacheBlock / 2) {
    const uint32_t* value = reinterpret_cast<const uint32_t*>(v_blocks[at / (kCacheBlock / 2)]) + dim;
    const int end = pairs - at < kCacheBlock / 2 ? pairs - at : kCacheBlock / 2;
    const int* p = probabilities + at;
    for (int pair = 0; pair < end; ++pair, value += group.padded, ++p) {
      __m512i loaded[kVectors];
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) loaded[v] = _mm512_loadu_si512(value + v * 16);
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const __m512i weight = _mm512_set1_epi32(p[r * (kKeyBlock / 2)]);
        KRAKEN_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = dot(sum[r][v], weight, loaded[v]);
      }
    }
  }
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    float* to = group.sum_of_values + r * group.padded + dim;
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) _mm512_store_ps(to + v * 16, sum[r][v]);
  }
}

template <int kRows>
void score_rows(const RowGroup& group, const std::byte* block, int position, int width, float* scores,
                float (*maxima)[kMostLanes]) {
  const auto* k = reinterpret_cast<const uint32_t*>(block);
  switch ((width + 15) / 16) {
    case 1:
      return score_tile<kRows, 1>(group, k, position, scores, maxima);
    case 2:
      return score_tile<kRows, 2>(group, k, position, scores, maxima);
    case 3:
      return score_tile<kRows, 3>(group, k, position, scores, maxima);
    default:
      return score_tile<kRows, 4>(group, k, position, scores, maxima);
  }
}

template <int kRows>
void value_rows(const RowGroup& group, const std::byte* const* v_blocks, int columns,
                const int* probabilities, bool first) {
  int dim = 0;
  for (; dim + 64 <= group.padded; dim += 64) {
    value_tile<kRows, 4>(group, v_blocks, columns, probabilities, first, dim);
  }
  switch ((group.padded - dim) / 16) {
    case 1:
      return value_tile<kRows, 1>(group, v_blocks, columns, probabilities, first, dim);
    case 2:
      return value_tile<kRows, 2>(group, v_blocks, columns, probabilities, first, dim);
    case 3:
      return value_tile<kRows, 3>(group, v_blocks, columns, probabilities, first, dim);
    default:
      return;
  }
}

struct BFloat16Kernel {
  static void pack_queries(const RowGroup& group, const void* const* rows, std::byte* packed) {
    auto* to = reinterpret_cast<uint16_t*>(packed);
    for (int r = 0; r < group.rows; ++r, to += group.padded) {
      const auto* from = static_cast<const uint16_t*>(rows[r]);
      for (int i = 0; i < group.padded; i += 32) {
        const __m512i part = _mm512_maskz_loadu_epi16(first_halves(group.head_dim - i), from + i);
        _mm512_mask_storeu_epi16(to + i, first_halves(group.padded - i), part);
      }
    }
  }

  static void score(const RowGroup& group, const std::byte* k, int position, int width, float* scores,
                    float (*maxima)[kMostLanes]) {
    KRAKEN_DISPATCH_ROWS(group.rows, score_rows, group, k, position, width, scores, maxima);
  }

  static void softmax(RowGroup& group, const float (*maxima)[kMostLanes], int columns, const float* scores,
                      std::byte* probabilities) {
    const __m512 scale = _mm512_set1_ps(group.scale);
    const int vectors = (columns + 15) / 16;
    for (int r = 0; r < group.rows; ++r) {
      const float here = _mm512_reduce_max_ps(_mm512_load_ps(maxima[r]));
      const float maximum = here > group.maximum[r] ? here : group.maximum[r];
      const __m512 shift = _mm512_set1_ps(maximum * group.scale);
      const __m512 rescale = exp2_short(_mm512_set1_ps((group.maximum[r] - maximum) * group.scale));
      const float* from = scores + r * kKeyBlock;
      auto* to = reinterpret_cast<uint16_t*>(probabilities) + r * kKeyBlock;
      __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
      int v = 0;
      for (; v + 2 <= vectors; v += 2) {
        const __m512 p0 = exp2_short(_mm512_fmsub_ps(_mm512_load_ps(from + v * 16), scale, shift));
        const __m512 p1 = exp2_short(_mm512_fmsub_ps(_mm512_load_ps(from + v * 16 + 16), scale, shift));
        _mm512_store_si512(to + v * 16, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(p1, p0)));
        even = _mm512_add_ps(even, p0);
        odd = _mm512_add_ps(odd, p1);
      }
      if (v < vectors) {
        const __m512 p0 = exp2_short(_mm512_fmsub_ps(_mm512_load_ps(from + v * 16), scale, shift));
        _mm256_store_si256(reinterpret_cast<__m256i*>(to + v * 16),
                           reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(p0)));
        even = _mm512_add_ps(even, p0);
      }
      const __m512 total = _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_add_ps(even, odd)));
      group.total[r] = _mm512_cvtss_f32(_mm512_fmadd_ps(_mm512_set1_ps(group.total[r]), rescale, total));
      group.rescale[r] = _mm512_cvtss_f32(rescale);
      group.maximum[r] = maximum;
    }
  }

  static void weigh_values(const RowGroup& group, const std::byte* const* v_blocks, int columns,
                           const std::byte* probabilities, bool first) {
    KRAKEN_DISPATCH_ROWS(group.rows, value_rows, group, v_blocks, columns,
                         reinterpret_cast<const int*>(probabilities), first);
  }

  static void finish(const RowGroup& group, void* const* rows) {
    for (int r = 0; r < group.rows; ++r) {
      const __m512 inverse = _mm512_set1_ps(1.0f / group.total[r]);
      const float* from = group.sum_of_values + r * group.padded;
      auto* to = static_cast<uint16_t*>(rows[r]);
      for (int i = 0; i < group.head_dim; i += 16) {
        const int rest = group.head_dim - i;
        const auto mask = static_cast<__mmask16>(rest >= 16 ? 0xffff : (1 << rest) - 1);
        const __m512 value = _mm512_mul_ps(_mm512_load_ps(from + i), inverse);
        _mm256_mask_storeu_epi16(to + i, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
      }
    }
  }
};

// rows[i] holds 16 units of token i; column u of the result is written to to[u · pitch].
inline void transpose_16x16(const __m512i (&rows)[16], uint32_t* to, int pitch, int units) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  // b[4i + j]: in 128-bit lane l, unit 4l + j of tokens 4i .. 4i + 3.
  for (int j = 0; j < 4; ++j) {
    const __m512i low01 = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x44),
                  high01 = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xee);
    const __m512i low23 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x44),
                  high23 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xee);
    const __m512i columns[4] = {
        _mm512_shuffle_i32x4(low01, low23, 0x88), _mm512_shuffle_i32x4(low01, low23, 0xdd),
        _mm512_shuffle_i32x4(high01, high23, 0x88), _mm512_shuffle_i32x4(high01, high23, 0xdd)};
    for (int l = 0; l < 4; ++l) {
      if (4 * l + j < units) _mm512_storeu_si512(to + (4 * l + j) * pitch, columns[l]);
    }
  }
}

void append_keys(const AppendJob& job) {
  auto* k = reinterpret_cast<uint32_t*>(job.k) + job.first_slot;
  const int units = (job.head_dim + 1) / 2;
  int t = 0;
  for (; t + 16 <= job.count; t += 16) {
    for (int unit = 0; unit < units; unit += 16) {
      __m512i rows[16];
      const __mmask32 mask = first_halves(job.head_dim - 2 * unit);
      for (int i = 0; i < 16; ++i) {
        rows[i] = _mm512_maskz_loadu_epi16(
            mask, reinterpret_cast<const uint16_t*>(job.key + static_cast<size_t>(t + i) * job.row_bytes) +
                      2 * unit);
      }
      transpose_16x16(rows, k + unit * kCacheBlock + t, kCacheBlock, units - unit);
    }
  }
  for (; t < job.count; ++t) {
    const auto* from = reinterpret_cast<const uint16_t*>(job.key + static_cast<size_t>(t) * job.row_bytes);
    for (int unit = 0; unit < units; ++unit) {
      const uint32_t high = 2 * unit + 1 < job.head_dim ? from[2 * unit + 1] : 0;
      k[unit * kCacheBlock + t] = uint32_t{from[2 * unit]} | high << 16;
    }
  }
}

void append_values(const AppendJob& job) {
  const int padded = padded_dim(job.head_dim);
  auto* v = reinterpret_cast<uint32_t*>(job.v);
  const auto row = [&](int t) {
    return reinterpret_cast<const uint16_t*>(job.value + static_cast<size_t>(t) * job.row_bytes);
  };
  int t = 0;
  if (job.first_slot % 2 != 0) {  // completes a pair whose first token came in an earlier step
    auto* pair = v + (job.first_slot / 2) * padded;
    const uint16_t* from = row(0);
    for (int i = 0; i < job.head_dim; ++i) pair[i] = (pair[i] & 0xffffu) | uint32_t{from[i]} << 16;
    t = 1;
  }
  for (; t < job.count; t += 2) {
    auto* pair = v + ((job.first_slot + t) / 2) * padded;
    const bool whole = t + 1 < job.count;
    for (int i = 0; i < padded; i += 16) {
      const __mmask16 mask =
          static_cast<__mmask16>(first_halves(job.head_dim - i > 16 ? 16 : job.head_dim - i));
      const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row(t) + i));
      const __m512i high = whole ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row(t + 1) + i))
                                 : _mm512_setzero_si512();
      _mm512_storeu_si512(pair + i, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  }
}

void append_tokens(const AppendJob& job) {
  append_keys(job);
  append_values(job);
}

}  // namespace

AttentionKernels avx512_bf16_attention_kernels() {
  return {append_tokens, attend_rows<BFloat16Kernel>};
}

}  // namespace kraken::cpu

#else

namespace kraken::cpu {

AttentionKernels avx512_bf16_attention_kernels() {
  return {nullptr, nullptr};
}

}  // namespace kraken::cpu

#endif
