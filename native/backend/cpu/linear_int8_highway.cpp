// Tiles of int8 products for any CPU. Whole numbers up to 2²⁴ are exact in float32, so runs of 1024 products
// are added up by float32 multiply-adds, and the runs' sums as integers: the same 32 bits as an integer
// instruction gives.
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear_int8_highway.cpp"
// The order matters.
// clang-format off
#include "backend/cpu/highway_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backend/cpu/linear_panels.h"
#include "backend/cpu/quantised_rows.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/unroll.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

constexpr int64_t kExactRun = 1024;
static_assert(127 * 127 * kExactRun < (1 << 24) && kExactRun % kPanelWordBytes == 0);

// Byte kByte of every word, as float32.
template <int kByte>
HWY_INLINE VF weight_floats(hn::Vec<DI> words) {
  return hn::ConvertTo(DF(), hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * kByte>(words)));
}

struct Int8Tile {
  static constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));
  static constexpr int kPanelVectors = 2;

  template <int kRows, int kVectors, int kLines>
  static HWY_NOINLINE void multiply(const TileJob& job) {
    const DF df;
    const DI di;
    hn::Vec<DI> total[kRows][kVectors];
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) total[r][v] = hn::Zero(di);
    }
    const auto* weights = reinterpret_cast<const int32_t*>(job.panel);
    const std::byte* fetch = job.fetch;
    for (int64_t begin = 0; begin < job.k; begin += kExactRun) {
      const int64_t end = std::min(job.k, begin + kExactRun);
      VF sum[kRows][kVectors];
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        KRAKEN_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(df);
      }
      const auto add = [&](int64_t k, const auto& weight_of) {
        if (k >= end) return;
        VF weight[kVectors];
        KRAKEN_UNROLL
        for (int v = 0; v < kVectors; ++v) weight[v] = weight_of(hn::Load(di, weights + v * kLanes));
        KRAKEN_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const VF x = hn::Set(df, job.x_float[r * job.k + k]);
          KRAKEN_UNROLL
          for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(x, weight[v], sum[r][v]);
        }
      };
      for (int64_t k = begin; k < end; k += kPanelWordBytes) {
        KRAKEN_UNROLL
        for (int line = 0; line < kLines; ++line) fetch_to_second_level(fetch + line * kCacheLine);
        fetch += job.fetch_bytes;
        add(k, [](auto words) { return weight_floats<0>(words); });
        add(k + 1, [](auto words) { return weight_floats<1>(words); });
        add(k + 2, [](auto words) { return weight_floats<2>(words); });
        add(k + 3, [](auto words) { return weight_floats<3>(words); });
        weights += kPanelVectors * kLanes;
      }
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        KRAKEN_UNROLL
        for (int v = 0; v < kVectors; ++v) total[r][v] = hn::Add(total[r][v], hn::NearestInt(sum[r][v]));
      }
    }
    const int64_t pitch = quantised_row_bytes(job.k);
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const auto* const row = static_cast<const uint8_t*>(job.x) + r * pitch;
      const VF row_scale = hn::Set(df, quantised_row_scale(row, job.k));
      float* y = static_cast<float*>(job.y) + r * job.n;
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const VF bias = job.bias != nullptr ? load(job.bias + v * kLanes) : hn::Zero(df);
        const VF scale = hn::Mul(row_scale, load(job.scales + v * kLanes));
        const VF value = hn::Add(hn::Mul(hn::ConvertTo(df, total[r][v]), scale), bias);
        const int count = job.columns - v * kLanes;
        if (count >= kLanes) {
          store(value, y + v * kLanes);
        } else {
          store_tail(value, y + v * kLanes, static_cast<size_t>(count));
        }
      }
    }
  }
};

void widen(const uint8_t* row, float* out, int64_t k) {
  for (int64_t i = 0; i < k; ++i) out[i] = static_cast<float>(int{row[i]} - kQuantisedZero);
}

PanelKernel int8_kernel() {
  PanelKernel kernel = panel_kernel_of<Int8Tile>("highway:int8_panels");
  kernel.widen = widen;
  return kernel;
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/instruction_set.h"

namespace kraken::cpu {
HWY_EXPORT(int8_kernel);

PanelKernel int8_panel_kernel() {
  cap_highway_targets();
  return HWY_DYNAMIC_DISPATCH(int8_kernel)();
}

}  // namespace kraken::cpu
#endif  // HWY_ONCE
