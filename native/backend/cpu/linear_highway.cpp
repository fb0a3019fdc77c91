// float32 products for machines where oneDNN has no batch-reduce kernel: weights packed in panels of a few
// vectors of columns, [n / panel][k][panel], and a tile of up to 6 rows held in registers. Every output is
// one chain of multiply-adds over k from first to last, so a row's bits do not depend on M or on the number
// of threads.
#include <algorithm>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear_highway.cpp"
// The order matters.
// clang-format off
#include "backend/cpu/highway_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/unroll.h"
// clang-format on

#ifndef KRAKEN_CPU_LINEAR_HIGHWAY_ONCE_
#define KRAKEN_CPU_LINEAR_HIGHWAY_ONCE_
namespace kraken::cpu {

struct PanelJob {
  const float* panel = nullptr;  // [k][panel_width]
  const float* bias = nullptr;   // [panel_width], or null
  const float* x = nullptr;      // [rows, k]
  float* y = nullptr;            // first column of this panel; row pitch n
  int64_t rows = 0, k = 0, n = 0;
  int64_t columns = 0;  // of this panel, at most panel_width
};

struct PanelKernel {
  int64_t panel_width;
  void (*run)(const PanelJob& job);
};

}  // namespace kraken::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

constexpr int kTileRows = 6, kTileVectors = 2;
constexpr int64_t kDepth =
    512;  // of k at once: 6 rows of x and the panel's slice stay in the first-level cache

// Continues the sums in y when `first` is false: float32 in memory is exactly what was in the register.
template <int kRows>
HWY_NOINLINE void multiply_tile(const PanelJob& job, int64_t row, int64_t k_begin, int64_t k_end) {
  const DF df;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(df)), width = kTileVectors * lanes, pitch = job.k;
  // The last panel's columns may be fewer than its vectors hold: such rows go through a buffer.
  HWY_ALIGN float edge[kRows][kTileVectors * HWY_MAX_BYTES / sizeof(float)];
  const bool whole = job.columns == width;
  float* y[kRows];
  for (int r = 0; r < kRows; ++r) {
    y[r] = job.y + (row + r) * job.n;
    if (whole) continue;
    std::fill_n(edge[r], width, 0.0f);
    if (k_begin != 0) std::copy_n(y[r], job.columns, edge[r]);
    y[r] = edge[r];
  }
  VF sum[kRows][kTileVectors];
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KRAKEN_UNROLL
    for (int v = 0; v < kTileVectors; ++v) sum[r][v] = k_begin == 0 ? hn::Zero(df) : load(y[r] + v * lanes);
  }
  const float* x = job.x + row * pitch;
  const float* w = job.panel + k_begin * width;
  for (int64_t k = k_begin; k < k_end; ++k, w += width) {
    const VF w0 = hn::Load(df, w), w1 = hn::Load(df, w + lanes);
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const VF broadcast = hn::Set(df, x[r * pitch + k]);
      sum[r][0] = hn::MulAdd(broadcast, w0, sum[r][0]);
      sum[r][1] = hn::MulAdd(broadcast, w1, sum[r][1]);
    }
  }
  if (k_end == job.k && job.bias != nullptr) {
    const VF b0 = load(job.bias), b1 = load(job.bias + lanes);
    KRAKEN_UNROLL
    for (int r = 0; r < kRows; ++r) {
      sum[r][0] = hn::Add(sum[r][0], b0);
      sum[r][1] = hn::Add(sum[r][1], b1);
    }
  }
  KRAKEN_UNROLL
  for (int r = 0; r < kRows; ++r) {
    KRAKEN_UNROLL
    for (int v = 0; v < kTileVectors; ++v) store(sum[r][v], y[r] + v * lanes);
  }
  for (int r = 0; r < kRows && !whole; ++r) std::copy_n(y[r], job.columns, job.y + (row + r) * job.n);
}

void multiply_last_rows(const PanelJob& job, int64_t row, int64_t k_begin, int64_t k_end) {
  switch (job.rows - row) {
    case 1:
      return multiply_tile<1>(job, row, k_begin, k_end);
    case 2:
      return multiply_tile<2>(job, row, k_begin, k_end);
    case 3:
      return multiply_tile<3>(job, row, k_begin, k_end);
    case 4:
      return multiply_tile<4>(job, row, k_begin, k_end);
    case 5:
      return multiply_tile<5>(job, row, k_begin, k_end);
    default:
      return;
  }
}

void multiply_panel(const PanelJob& job) {
  for (int64_t k = 0; k < job.k; k += kDepth) {
    const int64_t k_end = std::min(job.k, k + kDepth);
    int64_t row = 0;
    for (; row + kTileRows <= job.rows; row += kTileRows) multiply_tile<kTileRows>(job, row, k, k_end);
    multiply_last_rows(job, row, k, k_end);
  }
}

PanelKernel panel_kernel() {
  return {static_cast<int64_t>(kTileVectors * hn::Lanes(DF())), multiply_panel};
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <string>
#include <vector>

#include "backend/cpu/aligned_buffer.h"
#include "backend/cpu/instruction_set.h"
#include "backend/cpu/linear_kernel.h"
#include "backend/cpu/parallel.h"

namespace kraken::cpu {
namespace {

HWY_EXPORT(panel_kernel);

const PanelKernel& chosen_kernel() {
  static const PanelKernel kernel = [] {
    cap_highway_targets();
    return HWY_DYNAMIC_DISPATCH(panel_kernel)();
  }();
  return kernel;
}

class HighwayLinear final : public LinearKernel {
 public:
  explicit HighwayLinear(const LinearSpec& spec)
      : n_(spec.n),
        k_(spec.k),
        width_(chosen_kernel().panel_width),
        panels_((n_ + width_ - 1) / width_),
        packed_(static_cast<size_t>(panels_ * width_ * k_) * sizeof(float)) {
    if (spec.bias != nullptr) {
      bias_.assign(spec.bias, spec.bias + n_);
      bias_.resize(static_cast<size_t>(panels_ * width_));
    }
    parallel_for(panels_, 2 * width_ * k_, [&](int64_t panel) { pack(spec, panel); });
  }

  void run(const void* x, void* y, int64_t rows) override {
    parallel_for(panels_, 2 * rows * width_ * k_ / 8, [&](int64_t panel) {
      PanelJob job;
      job.panel = packed_.as<float>() + panel * width_ * k_;
      job.bias = bias_.empty() ? nullptr : bias_.data() + panel * width_;
      job.x = static_cast<const float*>(x);
      job.y = static_cast<float*>(y) + panel * width_;
      job.rows = rows;
      job.k = k_;
      job.n = n_;
      job.columns = std::min(width_, n_ - panel * width_);
      chosen_kernel().run(job);
    });
  }

  void prepare(int64_t) override {}
  std::span<const std::byte> packed() const override { return {packed_.as<std::byte>(), packed_.bytes()}; }
  const char* implementation() const override { return "highway:panels"; }

 private:
  void pack(const LinearSpec& spec, int64_t panel) {
    float* to = packed_.as<float>() + panel * width_ * k_;
    for (int64_t column = 0; column < width_; ++column) {
      const int64_t row = panel * width_ + column;  // of the weight, [n, k]
      for (int64_t k = 0; k < k_; ++k)
        to[k * width_ + column] = row < n_ ? element(spec, row * k_ + k) : 0.0f;
    }
  }

  static float element(const LinearSpec& spec, int64_t index) {
    if (spec.stored == DType::Float32) return static_cast<const float*>(spec.weight)[index];
    return bfloat16_to_float(static_cast<const uint16_t*>(spec.weight)[index]);
  }

  int64_t n_, k_, width_, panels_;
  AlignedBuffer packed_;
  std::vector<float> bias_;
};

}  // namespace

std::unique_ptr<LinearKernel> make_highway_linear(const LinearSpec& spec) {
  return std::make_unique<HighwayLinear>(spec);
}

}  // namespace kraken::cpu
#endif  // HWY_ONCE
