// Attention in float32: K [head_dim][64 tokens], V [64 tokens][head_dim to 16].
#include <cstdint>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_highway.cpp"
// The order matters.
// clang-format off
#include "backend/cpu/highway_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backend/cpu/attention_kernels.h"
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

// scores[r][key] = q[r] · k[key] for kVectors vectors of keys, with keys the row must not see at -∞.
template <int kRows, int kVectors>
HWY_NOINLINE void score_tile(const RowGroup& group, const float* k, int position, float* scores,
                             float* maxima) {
  const DF df;
  const int lanes = static_cast<int>(hn::Lanes(df));
  VF sum[kRows][kVectors];
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(df);
  }
  const auto* q = reinterpret_cast<const float*>(group.query);
  for (int unit = 0; unit < group.head_dim; ++unit, k += kCacheBlock, ++q) {
    VF key[kVectors];
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) key[v] = hn::LoadU(df, k + v * lanes);
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const VF query = hn::Set(df, q[r * group.padded]);
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(query, key[v], sum[r][v]);
    }
  }
  if (position + kVectors * lanes > group.keys[0]) {
    const VF never = hn::Set(df, -__builtin_inff());
    const VF index = hn::Iota(df, 0.0f);
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const VF seen = hn::Set(df, static_cast<float>(group.keys[r] - position - v * lanes));
        sum[r][v] = hn::IfThenElse(hn::Lt(index, seen), sum[r][v], never);
      }
    }
  }
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    VF most = hn::Load(df, maxima + r * kMostLanes);
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      most = hn::Max(most, sum[r][v]);
      hn::StoreU(sum[r][v], df, scores + r * kKeyBlock + v * lanes);
    }
    hn::Store(most, df, maxima + r * kMostLanes);
  }
}

// sum_of_values[r][dims] = sum_of_values[r][dims]·rescale + Σ probability[r][key] · v[key][dims]
template <int kRows, int kVectors>
HWY_NOINLINE void value_tile(const RowGroup& group, const std::byte* const* v_blocks, int columns,
                             const float* probabilities, bool first, int dim) {
  const DF df;
  const int lanes = static_cast<int>(hn::Lanes(df));
  VF sum[kRows][kVectors];
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const VF rescale = hn::Set(df, group.rescale[r]);
    const float* old = group.sum_of_values + r * group.padded + dim;
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = first ? hn::Zero(df) : hn::Mul(hn::Load(df, old + v * lanes), rescale);
    }
  }
  for (int at = 0; at < columns; at += kCacheBlock) {
    const float* value = reinterpret_cast<const float*>(v_blocks[at / kCacheBlock]) + dim;
    const int end = columns - at < kCacheBlock ? columns - at : kCacheBlock;
    for (int key = 0; key < end; ++key, value += group.padded) {
      VF loaded[kVectors];
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) loaded[v] = hn::LoadU(df, value + v * lanes);
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const VF p = hn::Set(df, probabilities[r * kKeyBlock + at + key]);
        KRAKEN_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(p, loaded[v], sum[r][v]);
      }
    }
  }
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    float* to = group.sum_of_values + r * group.padded + dim;
    KRAKEN_UNROLL
    for (int v = 0; v < kVectors; ++v) hn::Store(sum[r][v], df, to + v * lanes);
  }
}

template <int kRows>
void score_rows(const RowGroup& group, const float* k, int position, int width, float* scores,
                float* maxima) {
  const int lanes = static_cast<int>(hn::Lanes(DF()));
  int at = 0;
  for (; at + (kTileVectors - 1) * lanes < width; at += kTileVectors * lanes) {
    score_tile<kRows, kTileVectors>(group, k + at, position + at, scores + at, maxima);
  }
  for (; at < width; at += lanes) score_tile<kRows, 1>(group, k + at, position + at, scores + at, maxima);
}

template <int kRows>
void value_rows(const RowGroup& group, const std::byte* const* v_blocks, int columns,
                const float* probabilities, bool first) {
  const int lanes = static_cast<int>(hn::Lanes(DF()));
  int dim = 0;
  for (; dim + kTileVectors * lanes <= group.padded; dim += kTileVectors * lanes) {
    value_tile<kRows, kTileVectors>(group, v_blocks, columns, probabilities, first, dim);
  }
  if constexpr (kTileVectors > 2) {
    for (; dim + 2 * lanes <= group.padded; dim += 2 * lanes) {
      value_tile<kRows, 2>(group, v_blocks, columns, probabilities, first, dim);
    }
  }
  for (; dim < group.padded; dim += lanes) {
    value_tile<kRows, 1>(group, v_blocks, columns, probabilities, first, dim);
  }
}

struct Float32Kernel {
  static void pack_queries(const RowGroup& group, const void* const* rows, std::byte* packed) {
    for (int r = 0; r < group.rows; ++r) {
      std::memcpy(reinterpret_cast<float*>(packed) + r * group.padded, rows[r],
                  static_cast<size_t>(group.head_dim) * sizeof(float));
    }
  }

  // Scores of the keys at [position, position + width) of one cache block, and their running maxima per lane.
  static void score(const RowGroup& group, const std::byte* k, int position, int width, float* scores,
                    float (*maxima)[kMostLanes]) {
    KRAKEN_DISPATCH_ROWS(group.rows, score_rows, group, reinterpret_cast<const float*>(k), position, width,
                         scores, maxima[0]);
  }

  // Exponentials of the scores, and the group's maximum, total and rescale brought up to date.
  static void softmax(RowGroup& group, const float (*maxima)[kMostLanes], int columns, const float* scores,
                      std::byte* probabilities) {
    const DF df;
    const int lanes = static_cast<int>(hn::Lanes(df));
    const VF scale = hn::Set(df, group.scale);
    for (int r = 0; r < group.rows; ++r) {
      const float here = hn::GetLane(hn::MaxOfLanes(df, hn::Load(df, maxima[r])));
      const float maximum = here > group.maximum[r] ? here : group.maximum[r];
      const VF shift = hn::Set(df, maximum);
      const VF rescale = exp2<6>(hn::Mul(hn::Sub(hn::Set(df, group.maximum[r]), shift), scale));
      const float* from = scores + r * kKeyBlock;
      auto* to = reinterpret_cast<float*>(probabilities) + r * kKeyBlock;
      VF even = hn::Zero(df), odd = hn::Zero(df);
      int i = 0;
      for (; i + lanes < columns; i += 2 * lanes) {
        const VF p0 = exp2<6>(hn::Mul(hn::Sub(hn::Load(df, from + i), shift), scale));
        const VF p1 = exp2<6>(hn::Mul(hn::Sub(hn::Load(df, from + i + lanes), shift), scale));
        hn::Store(p0, df, to + i);
        hn::Store(p1, df, to + i + lanes);
        even = hn::Add(even, p0);
        odd = hn::Add(odd, p1);
      }
      if (i < columns) {
        const VF p0 = exp2<6>(hn::Mul(hn::Sub(hn::Load(df, from + i), shift), scale));
        hn::Store(p0, df, to + i);
        even = hn::Add(even, p0);
      }
      const VF total = hn::SumOfLanes(df, hn::Add(even, odd));
      group.total[r] = hn::GetLane(hn::MulAdd(hn::Set(df, group.total[r]), rescale, total));
      group.rescale[r] = hn::GetLane(rescale);
      group.maximum[r] = maximum;
    }
  }

  static void weigh_values(const RowGroup& group, const std::byte* const* v_blocks, int columns,
                           const std::byte* probabilities, bool first) {
    KRAKEN_DISPATCH_ROWS(group.rows, value_rows, group, v_blocks, columns,
                         reinterpret_cast<const float*>(probabilities), first);
  }

  static void finish(const RowGroup& group, void* const* rows) {
    const int lanes = static_cast<int>(hn::Lanes(DF()));
    for (int r = 0; r < group.rows; ++r) {
      const VF total = hn::Set(DF(), group.total[r]);
      const float* from = group.sum_of_values + r * group.padded;
      auto* to = static_cast<float*>(rows[r]);
      int i = 0;
      for (; i + lanes <= group.head_dim; i += lanes) store(hn::Div(load(from + i), total), to + i);
      if (i < group.head_dim) {
        store_tail(hn::Div(load(from + i), total), to + i, static_cast<size_t>(group.head_dim - i));
      }
    }
  }
};

void append_tokens(const AppendJob& job) {
  const int padded = padded_dim(job.head_dim);
  auto* k = reinterpret_cast<float*>(job.k) + job.first_slot;
  // Runs of 16 tokens at once: their keys' cache lines serve 16 units of each.
  for (int begin = 0; begin < job.count; begin += 16) {
    const int end = job.count - begin < 16 ? job.count : begin + 16;
    for (int unit = 0; unit < job.head_dim; ++unit) {
      for (int t = begin; t < end; ++t) {
        float value;
        std::memcpy(
            &value,
            job.key + static_cast<size_t>(t) * job.row_bytes + static_cast<size_t>(unit) * sizeof(float),
            sizeof(value));
        k[unit * kCacheBlock + t] = value;
      }
    }
  }
  for (int t = 0; t < job.count; ++t) {
    auto* v = reinterpret_cast<float*>(job.v) + (job.first_slot + t) * padded;
    std::memcpy(v, job.value + static_cast<size_t>(t) * job.row_bytes,
                static_cast<size_t>(job.head_dim) * sizeof(float));
    for (int i = job.head_dim; i < padded; ++i) v[i] = 0.0f;
  }
}

AttentionKernels float32_kernels() {
  return {append_tokens, attend_rows<Float32Kernel>};
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
