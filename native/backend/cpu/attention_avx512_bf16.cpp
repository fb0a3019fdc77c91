// Attention in bfloat16 with float32 sums, for CPUs with AVX512_BF16. Compiled with those flags and reached
// only when the CPU has them. A unit of KvLayout is what vdpbf16ps multiplies: a pair of bfloat16.
#include "backend/cpu/attention_walk.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)

#include <immintrin.h>

#include "backend/cpu/avx512_masks.h"
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

// Maximum of each of four vectors, in the 128-bit lane of its number.
inline __m512 maxima_of(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab = _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  const __m512 cd = _mm512_max_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
  __m512 all = _mm512_max_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  all = _mm512_max_ps(all, _mm512_permute_ps(all, 0x4e));
  return _mm512_max_ps(all, _mm512_permute_ps(all, 0xb1));
}

// Moves the references of four rows up where `maxima` ask for it, and says whether. Returns the references,
// scaled.
inline __m512 update_references(RowGroup& group, int quad, __m512 maxima, bool& moved) {
  const __m512 scale = _mm512_set1_ps(group.scale);
  const __m512 old = _mm512_load_ps(group.reference + quad * 16);
  const __m512 limit = _mm512_add_ps(old, _mm512_set1_ps(kReferenceSlack / group.scale));
  const __mmask16 grown = _mm512_cmp_ps_mask(maxima, limit, _CMP_GT_OQ);
  const __m512 one = _mm512_set1_ps(1.0f);
  if (grown == 0) {
    _mm512_store_ps(group.rescale + quad * 16, one);
    return _mm512_mul_ps(old, scale);
  }
  const __m512 now = _mm512_mask_mov_ps(old, grown, maxima);
  const __m512 rescale = exp2_short(_mm512_mul_ps(_mm512_sub_ps(old, now), scale));
  _mm512_store_ps(group.rescale + quad * 16, _mm512_mask_mov_ps(one, grown, rescale));
  _mm512_store_ps(group.reference + quad * 16, now);
  moved = true;
  return _mm512_mul_ps(now, scale);
}

uint16_t* probabilities(const RowGroup& group, int row) {
  return reinterpret_cast<uint16_t*>(group.probabilities) + row * kPendingKeys;
}

// probability[r][key] = 2^(scale · (q[r] · k[key] - reference[r])) for kVectors vectors of keys, 0 for keys
// that the row does not see, and for the rest of the last pair of vectors. The scores never leave the
// registers.
template <int kRows, int kVectors>
bool score_tile(RowGroup& group, const uint32_t* k, int position, Ahead& ahead) {
  __m512 sum[kRows][kVectors];
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  const auto* q = reinterpret_cast<const int*>(group.query);
  const int units = group.layout->units;
  const int pitch = query_pitch(*group.layout), key_vector = units * kKeyVector;
  for (int unit = 0; unit < units; ++unit, k += kKeyVector, ++q) {
    __m512i key[kVectors];
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) key[v] = _mm512_loadu_si512(k + v * key_vector);
    ahead.fetch<kVectors>();
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const __m512i query = _mm512_set1_epi32(q[r * pitch]);
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = dot(sum[r][v], query, key[v]);
    }
  }
  if (position + kVectors * 16 > group.keys[0]) {
    const __m512 never = _mm512_set1_ps(-__builtin_inff());
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const int seen = group.keys[r] - position - v * 16;
        sum[r][v] = _mm512_mask_mov_ps(never, first_lanes(seen < 0 ? 0 : seen), sum[r][v]);
      }
    }
  }
  __m512 most[kRows];
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    most[r] = sum[r][0];
    KRAKEN_UNROLL
    for (int v = 1; v < kVectors; ++v) most[r] = _mm512_max_ps(most[r], sum[r][v]);
  }
  constexpr int kQuads = (kRows + 3) / 4;
  __m512 shifts[kQuads];
  bool moved = false;
  KRAKEN_UNROLL
  for (int quad = 0; quad < kQuads; ++quad) {
    const int r = quad * 4;
    const auto row = [&](int i) { return most[r + i < kRows ? r + i : kRows - 1]; };
    shifts[quad] = update_references(group, quad, maxima_of(row(0), row(1), row(2), row(3)), moved);
  }
  const __m512 scale = _mm512_set1_ps(group.scale);
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const __m512 all = shifts[r / 4];
    const __m512 shift = r % 4 == 0   ? _mm512_shuffle_f32x4(all, all, 0x00)
                         : r % 4 == 1 ? _mm512_shuffle_f32x4(all, all, 0x55)
                         : r % 4 == 2 ? _mm512_shuffle_f32x4(all, all, 0xaa)
                                      : _mm512_shuffle_f32x4(all, all, 0xff);
    uint16_t* to = probabilities(group, r) + position % kPendingKeys;
    __m512 total = _mm512_load_ps(group.totals + r * kMostLanes);
    if (moved) total = _mm512_mul_ps(total, _mm512_set1_ps(group.rescale[r * kReferencePitch]));
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; v += 2) {
      const __m512 p0 = exp2_short(_mm512_fmsub_ps(sum[r][v], scale, shift));
      if (v + 1 < kVectors) {
        const __m512 p1 = exp2_short(_mm512_fmsub_ps(sum[r][v + 1], scale, shift));
        _mm512_store_si512(to + v * 16, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(p1, p0)));
        total = _mm512_add_ps(total, _mm512_add_ps(p0, p1));
      } else {
        _mm512_store_si512(to + v * 16,
                           reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_setzero_ps(), p0)));
        total = _mm512_add_ps(total, p0);
      }
    }
    _mm512_store_ps(group.totals + r * kMostLanes, total);
  }
  ahead.fetch_rest();
  return moved;
}

// sums[r][dims] += Σ probability[r][key] · v[key][dims] for the pending keys up to `end`.
template <int kRows, int kVectors>
void value_tile(const RowGroup& group, const HeadCache& cache, int end, int dim, Ahead& ahead) {
  __m512 sum[kRows][kVectors];
  const int body = group.layout->body;
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const float* old = group.sums + r * body + dim;
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_load_ps(old + v * 16);
  }
  for (int begin = group.pending; begin < end; begin += kCacheBlock) {
    const auto* value =
        reinterpret_cast<const uint32_t*>(block_of(cache, begin) + group.layout->v_offset) + dim;
    const auto* p = reinterpret_cast<const int*>(probabilities(group, 0) + begin % kPendingKeys);
    const int pairs = end - begin < kCacheBlock ? (end - begin + 1) / 2 : kCacheBlock / 2;
    for (int pair = 0; pair < pairs; ++pair, value += body, ++p) {
      __m512i weight[kRows];
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) weight[r] = _mm512_set1_epi32(p[r * (kPendingKeys / 2)]);
      ahead.fetch<kVectors>();
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const __m512i loaded = _mm512_loadu_si512(value + v * 16);
        KRAKEN_UNROLL
        for (int r = 0; r < kRows; ++r) sum[r][v] = dot(sum[r][v], weight[r], loaded);
      }
    }
  }
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    float* to = group.sums + r * body + dim;
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) _mm512_store_ps(to + v * 16, sum[r][v]);
  }
}

template <int kRows>
bool score_rows(RowGroup& group, const uint32_t* k, int position, Ahead& ahead) {
  switch ((group.edge - position + 15) / 16) {
    case 1:
      return score_tile<kRows, 1>(group, k, position, ahead);
    case 2:
      return score_tile<kRows, 2>(group, k, position, ahead);
    case 3:
      return score_tile<kRows, 3>(group, k, position, ahead);
    default:
      return score_tile<kRows, 4>(group, k, position, ahead);
  }
}

// The same for the dimensions in the V tail; lanes are added up at the end.
template <int kRows>
void tail_values(const RowGroup& group, const HeadCache& cache, int end) {
  const int tail = group.layout->tail;
  for (int d = 0; d < tail; ++d) {
    float* sums = group.tail_sums + d * kMostLanes;
    __m512 sum[kRows];
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) sum[r] = _mm512_load_ps(sums + r * tail * kMostLanes);
    for (int begin = group.pending; begin < end; begin += 32) {
      const auto* value =
          reinterpret_cast<const uint16_t*>(block_of(cache, begin) + group.layout->tail_offset) +
          d * kCacheBlock + begin % kCacheBlock;
      const __m512i loaded = _mm512_maskz_loadu_epi16(first_halves(end - begin), value);
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        sum[r] = dot(sum[r], _mm512_load_si512(probabilities(group, r) + begin % kPendingKeys), loaded);
      }
    }
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) _mm512_store_ps(sums + r * tail * kMostLanes, sum[r]);
  }
}

template <int kRows>
void value_rows(const RowGroup& group, const HeadCache& cache, int end, Ahead& ahead) {
  const int body = group.layout->body;
  int dim = 0;
  if constexpr (kRows * 8 < 32) {
    for (; dim + 112 <= body; dim += 112) value_tile<kRows, 7>(group, cache, end, dim, ahead);
  }
  for (; dim + 64 <= body; dim += 64) value_tile<kRows, 4>(group, cache, end, dim, ahead);
  switch ((body - dim) / 16) {
    case 1:
      value_tile<kRows, 1>(group, cache, end, dim, ahead);
      break;
    case 2:
      value_tile<kRows, 2>(group, cache, end, dim, ahead);
      break;
    case 3:
      value_tile<kRows, 3>(group, cache, end, dim, ahead);
      break;
    default:
      break;
  }
  tail_values<kRows>(group, cache, end);
  ahead.fetch_rest();
}

struct BFloat16Kernel {
  static void begin(RowGroup& group, const void* const* rows) {
    const KvLayout& layout = *group.layout;
    auto* to = reinterpret_cast<uint16_t*>(group.query);
    const int pitch = 2 * query_pitch(layout);
    for (int r = 0; r < group.rows; ++r, to += pitch) {
      const auto* from = static_cast<const uint16_t*>(rows[r]);
      for (int i = 0; i < pitch; i += 32) {
        _mm512_store_si512(to + i, _mm512_maskz_loadu_epi16(first_halves(layout.head_dim - i), from + i));
      }
    }
    const auto clear = [](float* floats, int count) {
      for (int i = 0; i < count; i += 16) _mm512_store_ps(floats + i, _mm512_setzero_ps());
    };
    clear(group.sums, group.rows * layout.body);
    clear(group.tail_sums, group.rows * layout.tail * kMostLanes);
    clear(group.totals, group.rows * kMostLanes);
    for (int quad = 0; quad < 2; ++quad) {
      _mm512_store_ps(group.reference + quad * 16, _mm512_set1_ps(-__builtin_inff()));
    }
  }

  static bool score(RowGroup& group, const std::byte* block, int position, Ahead& ahead) {
    KRAKEN_DISPATCH_ROWS(group.rows, score_rows, group, reinterpret_cast<const uint32_t*>(block), position,
                         ahead);
  }

  static void rescale(RowGroup& group) {
    const auto multiply = [](float* floats, int count, __m512 by) {
      for (int i = 0; i < count; i += 16)
        _mm512_store_ps(floats + i, _mm512_mul_ps(_mm512_load_ps(floats + i), by));
    };
    const int body = group.layout->body, tail = group.layout->tail * kMostLanes;
    for (int r = 0; r < group.rows; ++r) {
      const __m512 by = _mm512_set1_ps(group.rescale[r * kReferencePitch]);
      multiply(group.sums + r * body, body, by);
      multiply(group.tail_sums + r * tail, tail, by);
    }
  }

  static void weigh_values(const RowGroup& group, const HeadCache& cache, int end, Ahead& ahead) {
    KRAKEN_DISPATCH_ROWS(group.rows, value_rows, group, cache, end, ahead);
  }

  static void finish(const RowGroup& group, void* const* rows) {
    const int body = group.layout->body, tail = group.layout->tail;
    const int dense = group.layout->head_dim - tail;
    for (int r = 0; r < group.rows; ++r) {
      const __m512 inverse =
          _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(_mm512_load_ps(group.totals + r * kMostLanes)));
      const float* from = group.sums + r * body;
      auto* to = static_cast<uint16_t*>(rows[r]);
      for (int i = 0; i < dense; i += 16) {
        const __m512 value = _mm512_mul_ps(_mm512_load_ps(from + i), inverse);
        _mm256_mask_storeu_epi16(to + i, first_lanes(dense - i),
                                 reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
      }
      for (int d = 0; d < tail; ++d) {
        const __m512 sum = _mm512_load_ps(group.tail_sums + (r * tail + d) * kMostLanes);
        const __m512 value = _mm512_mul_ps(_mm512_set1_ps(_mm512_reduce_add_ps(sum)), inverse);
        _mm256_mask_storeu_epi16(to + dense + d, 1, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
      }
    }
  }
};

}  // namespace

AttentionKernels avx512_bf16_attention_kernels() {
  return {scratch_bytes<BFloat16Kernel>, append_avx512_bf16, attend_rows<BFloat16Kernel>};
}

}  // namespace kraken::cpu

#else

namespace kraken::cpu {

AttentionKernels avx512_bf16_attention_kernels() {
  return {nullptr, nullptr, nullptr};
}

}  // namespace kraken::cpu

#endif
