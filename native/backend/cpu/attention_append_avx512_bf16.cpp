// Keys and values into the cache in bfloat16 (KvLayout says where to). The last pair of an odd head_dim gets
// a zero in K; the last pair of an odd number of tokens gets a zero in V, because 0 · what an earlier user of
// the block left there could be NaN.
#include "backend/cpu/attention_walk.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)

#include <immintrin.h>

#include <cstring>

#include "backend/cpu/avx512_masks.h"

// GCC 12 takes the deliberately undefined operand of its own intrinsics for a mistake of ours (GCC bug
// 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace kraken::cpu {
namespace {

// rows[i] holds 16 units of token i; column u of the result is written to to[16 · u].
inline void transpose_16x16(const __m512i (&rows)[16], uint32_t* to, int units, __mmask16 lanes) {
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
      if (4 * l + j < units) _mm512_mask_store_epi32(to + (4 * l + j) * 16, lanes, columns[l]);
    }
  }
}

const uint16_t* halves(const std::byte* row) {
  return reinterpret_cast<const uint16_t*>(row);
}

// Keys of up to 16 tokens, which belong to one vector.
void append_keys(const AppendJob& job, std::byte* block, int slot, int count, const std::byte* key) {
  const KvLayout& layout = *job.cache.layout;
  auto* to = reinterpret_cast<uint32_t*>(block) + slot / kKeyVector * layout.units * kKeyVector;
  const int lane = slot % kKeyVector;
  if (count == 1) {
    for (int unit = 0; unit < layout.head_dim / 2; ++unit) {
      std::memcpy(to + unit * kKeyVector + lane, key + static_cast<size_t>(unit) * sizeof(uint32_t),
                  sizeof(uint32_t));
    }
    if (layout.head_dim % 2 != 0)
      to[layout.head_dim / 2 * kKeyVector + lane] = halves(key)[layout.head_dim - 1];
    return;
  }
  const auto lanes = static_cast<__mmask16>(first_lanes(count) << lane);
  for (int unit = 0; unit < layout.units; unit += 16) {
    const __mmask32 mask = first_halves(layout.head_dim - 2 * unit);
    __m512i rows[16];
    for (int i = 0; i < 16; ++i) {
      const int t = i < lane ? 0 : i - lane < count ? i - lane : count - 1;  // lanes beyond are not stored
      rows[i] =
          _mm512_maskz_loadu_epi16(mask, halves(key + static_cast<size_t>(t) * job.row_bytes) + 2 * unit);
    }
    transpose_16x16(rows, to + unit * kKeyVector, layout.units - unit, lanes);
  }
}

void append_values(const AppendJob& job, std::byte* block, int slot, int count, const std::byte* value) {
  const KvLayout& layout = *job.cache.layout;
  const int body = layout.body, dense = layout.head_dim - layout.tail;
  const auto row = [&](int t) { return halves(value + static_cast<size_t>(t) * job.row_bytes); };
  auto* tail = reinterpret_cast<uint16_t*>(block + layout.tail_offset) + slot;
  for (int d = 0; d < layout.tail; ++d) {
    for (int t = 0; t < count; ++t) tail[d * kCacheBlock + t] = row(t)[dense + d];
  }
  auto* pair = reinterpret_cast<uint32_t*>(block + layout.v_offset) + slot / 2 * body;
  int t = 0;
  if (slot % 2 != 0) {  // completes a pair whose first token came earlier
    for (int i = 0; i < body; i += 16) {
      const __m512i low = _mm512_and_si512(_mm512_load_si512(pair + i), _mm512_set1_epi32(0xffff));
      const __m512i high =
          _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first_lanes(dense - i), row(0) + i));
      _mm512_store_si512(pair + i, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
    pair += body;
    t = 1;
  }
  for (; t < count; t += 2, pair += body) {
    const bool whole = t + 1 < count;
    for (int i = 0; i < body; i += 16) {
      const __mmask16 mask = first_lanes(dense - i);
      const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row(t) + i));
      const __m512i high = whole ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, row(t + 1) + i))
                                 : _mm512_setzero_si512();
      _mm512_store_si512(pair + i, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  }
}

struct BFloat16Append {
  static void append(const AppendJob& job, std::byte* block, int slot, int count, const std::byte* key,
                     const std::byte* value) {
    append_keys(job, block, slot, count, key);
    append_values(job, block, slot, count, value);
  }
};

}  // namespace

void append_avx512_bf16(const AppendJob& job) {
  append_tokens<BFloat16Append>(job);
}

}  // namespace kraken::cpu

#endif
