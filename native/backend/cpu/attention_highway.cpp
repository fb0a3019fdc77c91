// Attention in float32, over the units of KvLayout that are one element each.
#include <cstdint>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_highway.cpp"
// The order matters.
// clang-format off
#include "backend/cpu/highway_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backend/cpu/attention_walk.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/unroll.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

// 6 rows × 4 vectors fill 24 of 32 registers, 6 × 2 fill 12 of 16.
#if HWY_ARCH_ARM || (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif

constexpr int kRegisters = kTileVectors == 4 ? 32 : 16;
constexpr int kKeyTile = kTileVectors * static_cast<int>(hn::MaxLanes(DF()));  // keys of a score tile
constexpr int kLines = kKeyTile > 16 ? kKeyTile / 16 : 1;  // of cache, for one unit of them

float* probabilities(const RowGroup& group, int row) {
  return reinterpret_cast<float*>(group.probabilities) + row * kPendingKeys;
}

// scores[r][key] = q[r] · k[key] for kVectors vectors of keys from `at` on in a block.
template <int kRows, int kVectors>
HWY_NOINLINE void score_tile(const RowGroup& group, const float* block, int at, float* scores, Ahead& ahead) {
  const DF df;
  const int lanes = static_cast<int>(hn::Lanes(df)), units = group.layout->units;
  VF sum[kRows][kVectors];
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(df);
  }
  const float* k[kVectors];
  KRAKEN_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    const int key = at + v * lanes;
    k[v] = block + key / kKeyVector * kKeyVector * units + key % kKeyVector;
  }
  const auto* q = reinterpret_cast<const float*>(group.query);
  for (int unit = 0; unit < units; ++unit, ++q) {
    VF key[kVectors];
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) key[v] = hn::LoadU(df, k[v] + unit * kKeyVector);
    ahead.fetch<kLines>();
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const VF query = hn::Set(df, q[r * query_pitch(*group.layout)]);
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(query, key[v], sum[r][v]);
    }
  }
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) hn::Store(sum[r][v], df, scores + r * kCacheBlock + at + v * lanes);
  }
}

template <int kRows>
void score_rows(const RowGroup& group, const float* block, int columns, float* scores, Ahead& ahead) {
  const int lanes = static_cast<int>(hn::Lanes(DF()));
  int at = 0;
  for (; at + (kTileVectors - 1) * lanes < columns; at += kKeyTile) {
    score_tile<kRows, kTileVectors>(group, block, at, scores, ahead);
  }
  for (; at < columns; at += lanes) score_tile<kRows, 1>(group, block, at, scores, ahead);
}

// Exponentials of one row's scores, its reference and totals brought up to date. Whether the reference moved.
bool softmax_row(RowGroup& group, int row, int position, int columns, float* scores) {
  const DF df;
  const int lanes = static_cast<int>(hn::Lanes(df));
  const int seen = group.keys[row] - position;
  VF most = hn::Set(df, -__builtin_inff());
  for (int i = 0; i < columns; i += lanes) {
    VF score = hn::Load(df, scores + i);
    if (i + lanes > seen) {
      const VF limit = hn::Set(df, static_cast<float>(seen - i));
      score = hn::IfThenElse(hn::Lt(hn::Iota(df, 0.0f), limit), score, hn::Set(df, -__builtin_inff()));
      hn::Store(score, df, scores + i);
    }
    most = hn::Max(most, score);
  }
  const float maximum = hn::GetLane(hn::MaxOfLanes(df, most));
  float& reference = group.reference[row * kReferencePitch];
  float& rescale = group.rescale[row * kReferencePitch];
  const VF scale = hn::Set(df, group.scale);
  const bool moved = maximum > reference + kReferenceSlack / group.scale;
  rescale = 1.0f;
  if (moved) {
    rescale = hn::GetLane(exp2<6>(hn::Mul(hn::Set(df, reference - maximum), scale)));
    reference = maximum;
  }
  const VF shift = hn::Set(df, reference);
  float* totals = group.totals + row * kMostLanes;
  VF total = hn::Mul(hn::Load(df, totals), hn::Set(df, rescale));
  float* to = probabilities(group, row) + position % kPendingKeys;
  for (int i = 0; i < columns; i += lanes) {
    const VF p = exp2<6>(hn::Mul(hn::Sub(hn::Load(df, scores + i), shift), scale));
    hn::Store(p, df, to + i);
    total = hn::Add(total, p);
  }
  hn::Store(total, df, totals);
  return moved;
}

// sums[r][dims] += Σ probability[r][key] · v[key][dims] for the pending keys up to `end`.
template <int kRows, int kVectors>
HWY_NOINLINE void value_tile(const RowGroup& group, const HeadCache& cache, int end, int dim, Ahead& ahead) {
  const DF df;
  const int lanes = static_cast<int>(hn::Lanes(df)), body = group.layout->body;
  VF sum[kRows][kVectors];
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Load(df, group.sums + r * body + dim + v * lanes);
  }
  for (int begin = group.pending; begin < end; begin += kCacheBlock) {
    const float* value =
        reinterpret_cast<const float*>(block_of(cache, begin) + group.layout->v_offset) + dim;
    const float* p = probabilities(group, 0) + begin % kPendingKeys;
    const int keys = end - begin < kCacheBlock ? end - begin : kCacheBlock;
    for (int key = 0; key < keys; ++key, value += body, ++p) {
      VF loaded[kVectors];
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) loaded[v] = hn::LoadU(df, value + v * lanes);
      ahead.fetch<kLines>();
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const VF weight = hn::Set(df, p[r * kPendingKeys]);
        KRAKEN_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(weight, loaded[v], sum[r][v]);
      }
    }
  }
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) hn::Store(sum[r][v], df, group.sums + r * body + dim + v * lanes);
  }
}

// The same for the dimensions in the V tail; lanes are added up at the end.
void tail_values(const RowGroup& group, const HeadCache& cache, int end) {
  const DF df;
  const int lanes = static_cast<int>(hn::Lanes(df)), tail = group.layout->tail;
  for (int d = 0; d < tail; ++d) {
    for (int r = 0; r < group.rows; ++r) {
      float* at = group.tail_sums + (r * tail + d) * kMostLanes;
      VF sum = hn::Load(df, at);
      for (int begin = group.pending; begin < end; begin += lanes) {
        const float* value =
            reinterpret_cast<const float*>(block_of(cache, begin) + group.layout->tail_offset) +
            d * kCacheBlock + begin % kCacheBlock;
        const int left = end - begin;  // a vector of one lane has no tail
        const bool whole = lanes == 1 || left >= lanes;
        const VF loaded = whole ? load(value) : load_tail(value, static_cast<size_t>(left));
        sum = hn::MulAdd(hn::Load(df, probabilities(group, r) + begin % kPendingKeys), loaded, sum);
      }
      hn::Store(sum, df, at);
    }
  }
}

template <int kRows>
void value_rows(const RowGroup& group, const HeadCache& cache, int end, Ahead& ahead) {
  const int lanes = static_cast<int>(hn::Lanes(DF())), body = group.layout->body;
  int dim = 0;
  if constexpr (kRows * 8 + 8 <= kRegisters) {
    for (; dim + 7 * lanes <= body; dim += 7 * lanes) value_tile<kRows, 7>(group, cache, end, dim, ahead);
  }
  for (; dim + kTileVectors * lanes <= body; dim += kTileVectors * lanes) {
    value_tile<kRows, kTileVectors>(group, cache, end, dim, ahead);
  }
  if constexpr (kTileVectors > 2) {
    for (; dim + 3 * lanes <= body; dim += 3 * lanes) value_tile<kRows, 3>(group, cache, end, dim, ahead);
    for (; dim + 2 * lanes <= body; dim += 2 * lanes) value_tile<kRows, 2>(group, cache, end, dim, ahead);
  }
  for (; dim < body; dim += lanes) value_tile<kRows, 1>(group, cache, end, dim, ahead);
}

// to[unit][token] = keys[token][unit] for up to 16 tokens, `to` 16 tokens wide.
void append_keys(const std::byte* keys, size_t row_bytes, int count, int units, float* to) {
  const auto row = [&](int t) {
    return reinterpret_cast<const float*>(keys + static_cast<size_t>(t) * row_bytes);
  };
  int t = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> d4;
  const int whole = units / 4 * 4;
  for (; t + 4 <= count; t += 4) {
    for (int unit = 0; unit < whole; unit += 4) {
      const auto a = hn::LoadU(d4, row(t) + unit), b = hn::LoadU(d4, row(t + 1) + unit),
                 c = hn::LoadU(d4, row(t + 2) + unit), d = hn::LoadU(d4, row(t + 3) + unit);
      const auto ab01 = hn::InterleaveLower(d4, a, b), ab23 = hn::InterleaveUpper(d4, a, b),
                 cd01 = hn::InterleaveLower(d4, c, d), cd23 = hn::InterleaveUpper(d4, c, d);
      float* at = to + unit * kKeyVector + t;
      hn::StoreU(hn::ConcatLowerLower(d4, cd01, ab01), d4, at);
      hn::StoreU(hn::ConcatUpperUpper(d4, cd01, ab01), d4, at + kKeyVector);
      hn::StoreU(hn::ConcatLowerLower(d4, cd23, ab23), d4, at + 2 * kKeyVector);
      hn::StoreU(hn::ConcatUpperUpper(d4, cd23, ab23), d4, at + 3 * kKeyVector);
    }
    for (int unit = whole; unit < units; ++unit) {
      for (int i = t; i < t + 4; ++i) to[unit * kKeyVector + i] = row(i)[unit];
    }
  }
#endif
  for (; t < count; ++t) {
    for (int unit = 0; unit < units; ++unit) to[unit * kKeyVector + t] = row(t)[unit];
  }
}

struct Float32Kernel {
  // Keys and values of up to 16 tokens from `slot` of a block on, whose keys belong to one vector.
  static void append(const AppendJob& job, std::byte* block, int slot, int count, const std::byte* key,
                     const std::byte* value) {
    const KvLayout& layout = *job.cache.layout;
    append_keys(
        key, job.row_bytes, count, layout.units,
        reinterpret_cast<float*>(block) + slot / kKeyVector * kKeyVector * layout.units + slot % kKeyVector);
    const int dense = layout.head_dim - layout.tail;
    auto* tail = reinterpret_cast<float*>(block + layout.tail_offset) + slot;
    auto* v = reinterpret_cast<float*>(block + layout.v_offset) + slot * layout.body;
    for (int t = 0; t < count; ++t, v += layout.body, value += job.row_bytes) {
      const auto* from = reinterpret_cast<const float*>(value);
      std::memcpy(v, from, static_cast<size_t>(dense) * sizeof(float));
      for (int i = dense; i < layout.body; ++i) v[i] = 0.0f;
      for (int d = 0; d < layout.tail; ++d) tail[d * kCacheBlock + t] = from[dense + d];
    }
  }

  // Packs the queries and clears the sums.
  static void begin(RowGroup& group, const void* const* rows) {
    const KvLayout& layout = *group.layout;
    for (int r = 0; r < group.rows; ++r) {
      std::memcpy(reinterpret_cast<float*>(group.query) + r * query_pitch(layout), rows[r],
                  static_cast<size_t>(layout.head_dim) * sizeof(float));
      group.reference[r * kReferencePitch] = -__builtin_inff();
    }
    const auto clear = [&](float* floats, int per_row) {
      std::memset(floats, 0, static_cast<size_t>(group.rows * per_row) * sizeof(float));
    };
    clear(group.sums, layout.body);
    clear(group.tail_sums, layout.tail * kMostLanes);
    clear(group.totals, kMostLanes);
  }

  // Probabilities of the keys of the block at `position`, relative to the references. Says whether one of
  // these moved: what is in the sums must then be rescaled.
  static bool score(RowGroup& group, const std::byte* block, int position, Ahead& ahead) {
    HWY_ALIGN float scores[kGroupRows * kCacheBlock];
    const int columns = group.edge - position < kCacheBlock ? group.edge - position : kCacheBlock;
    const auto tiles = [&] {
      KRAKEN_DISPATCH_ROWS(group.rows, score_rows, group, reinterpret_cast<const float*>(block), columns,
                           scores, ahead);
    };
    tiles();
    bool moved = false;
    for (int r = 0; r < group.rows; ++r) {
      moved |= softmax_row(group, r, position, columns, scores + r * kCacheBlock);
    }
    ahead.fetch_rest();
    return moved;
  }

  static void rescale(RowGroup& group) {
    const auto multiply = [](float* floats, int count, float by) {
      for (int i = 0; i < count; i += static_cast<int>(hn::Lanes(DF()))) {
        store(hn::Mul(load(floats + i), hn::Set(DF(), by)), floats + i);
      }
    };
    const int body = group.layout->body, tail = group.layout->tail * kMostLanes;
    for (int r = 0; r < group.rows; ++r) {
      multiply(group.sums + r * body, body, group.rescale[r * kReferencePitch]);
      multiply(group.tail_sums + r * tail, tail, group.rescale[r * kReferencePitch]);
    }
  }

  // Adds the values of the pending keys before `end` to the sums.
  static void weigh_values(const RowGroup& group, const HeadCache& cache, int end, Ahead& ahead) {
    const auto tiles = [&] { KRAKEN_DISPATCH_ROWS(group.rows, value_rows, group, cache, end, ahead); };
    tiles();
    tail_values(group, cache, end);
    ahead.fetch_rest();
  }

  static void finish(const RowGroup& group, void* const* rows) {
    const DF df;
    const int lanes = static_cast<int>(hn::Lanes(df));
    const int tail = group.layout->tail, dense = group.layout->head_dim - tail;
    for (int r = 0; r < group.rows; ++r) {
      const VF total = hn::SumOfLanes(df, hn::Load(df, group.totals + r * kMostLanes));
      const float* from = group.sums + r * group.layout->body;
      auto* to = static_cast<float*>(rows[r]);
      int i = 0;
      for (; i + lanes <= dense; i += lanes) store(hn::Div(load(from + i), total), to + i);
      if (i < dense) store_tail(hn::Div(load(from + i), total), to + i, static_cast<size_t>(dense - i));
      for (int d = 0; d < tail; ++d) {
        const VF sum = hn::SumOfLanes(df, hn::Load(df, group.tail_sums + (r * tail + d) * kMostLanes));
        to[dense + d] = hn::GetLane(hn::Div(sum, total));
      }
    }
  }
};

AttentionKernels float32_kernels() {
  return {scratch_bytes<Float32Kernel>, append_tokens<Float32Kernel>, attend_rows<Float32Kernel>};
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/instruction_set.h"

namespace kraken::cpu {
namespace {

HWY_EXPORT(float32_kernels);

}  // namespace

AttentionKernels highway_attention_kernels() {
  cap_highway_targets();
  return HWY_DYNAMIC_DISPATCH(float32_kernels)();
}

}  // namespace kraken::cpu
#endif  // HWY_ONCE
