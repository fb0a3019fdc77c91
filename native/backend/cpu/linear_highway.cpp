// Tiles of float32 products in whatever vectors the machine has. A word is one float32.
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear_highway.cpp"
// The order matters.
// clang-format off
#include "backend/cpu/highway_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backend/cpu/linear_panels.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/unroll.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

struct Float32Tile {
  static constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));
  // The sums of 6 rows, the weights and one value fill the registers: 32, or 16 before AVX-512.
  static constexpr int kPanelVectors = HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3 ? 2 : 4;

  template <int kRows, int kVectors, int kLines>
  static HWY_NOINLINE void multiply(const TileJob& job) {
    const DF df;
    VF sum[kRows][kVectors];
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(df);
    }
    const auto* x = static_cast<const float*>(job.x);
    const auto* weights = reinterpret_cast<const float*>(job.panel);
    const std::byte* fetch = job.fetch;
    for (int64_t k = 0; k < job.k; ++k) {
      KRAKEN_UNROLL
      for (int line = 0; line < kLines; ++line) fetch_to_second_level(fetch + line * kCacheLine);
      fetch += job.fetch_bytes;
      VF weight[kVectors];
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) weight[v] = hn::Load(df, weights + v * kLanes);
      weights += kPanelVectors * kLanes;
      KRAKEN_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const VF value = hn::Set(df, x[r * job.k + k]);
        KRAKEN_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(value, weight[v], sum[r][v]);
      }
    }
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      float* y = static_cast<float*>(job.y) + r * job.n;
      KRAKEN_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        if (job.bias != nullptr) sum[r][v] = hn::Add(sum[r][v], load(job.bias + v * kLanes));
        const int count = job.columns - v * kLanes;
        if (count >= kLanes) {
          store(sum[r][v], y + v * kLanes);
        } else {
          store_tail(sum[r][v], y + v * kLanes, static_cast<size_t>(count));
        }
      }
    }
  }
};

PanelKernel panel_kernel() {
  return panel_kernel_of<Float32Tile>("highway:panels");
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/instruction_set.h"

namespace kraken::cpu {

HWY_EXPORT(panel_kernel);

PanelKernel float32_panel_kernel() {
  cap_highway_targets();
  return HWY_DYNAMIC_DISPATCH(panel_kernel)();
}

}  // namespace kraken::cpu
#endif  // HWY_ONCE
