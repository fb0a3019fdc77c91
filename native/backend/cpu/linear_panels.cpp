#include "backend/cpu/linear_panels.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "backend/cpu/aligned_buffer.h"
#include "backend/cpu/linear_kernel.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/quantised_rows.h"

namespace kraken::cpu {
namespace {

// How far ahead of its own reading a tile fetches when it does not fetch for the next panel (in bytes;
// measured: more leaves the hardware's own fetching idle, less comes too late).
constexpr int64_t kFetchAhead = 1024;

// A single row takes a panel about as long as this many rows that go through it in whole tiles.
constexpr int64_t kSingleRowCost = 8;

class PanelLinear final : public LinearKernel {
 public:
  PanelLinear(const PanelKernel& kernel, const LinearSpec& spec)
      : kernel_(kernel),
        columns_(kernel.columns),
        n_(spec.n),
        k_(spec.k),
        input_bytes_(static_cast<int64_t>(size_of(spec.compute))),
        output_bytes_(static_cast<int64_t>(size_of(spec.output))),
        input_row_bytes_(spec.compute == DType::Int8 ? quantised_row_bytes(k_) : k_ * input_bytes_),
        steps_((k_ * input_bytes_ + kPanelWordBytes - 1) / kPanelWordBytes),
        step_bytes_(columns_ * kPanelWordBytes),
        panels_((n_ + columns_ - 1) / columns_),
        packed_(static_cast<size_t>(panels_ * steps_ * step_bytes_)) {
    if (spec.bias != nullptr) {
      bias_.assign(spec.bias, spec.bias + n_);
      bias_.resize(static_cast<size_t>(panels_ * columns_));
    }
    if (spec.scales != nullptr) {
      scales_.assign(spec.scales, spec.scales + n_);
      scales_.resize(static_cast<size_t>(panels_ * columns_));
      zero_sums_.resize(scales_.size());
    }
    const auto stored_row_bytes = static_cast<size_t>(k_) * size_of(spec.stored);
    parallel_ranges(panels_, steps_ * step_bytes_, [&](int64_t begin, int64_t end) {
      std::vector<std::byte> rows(static_cast<size_t>(columns_) * stored_row_bytes);
      for (int64_t panel = begin; panel < end; ++panel) pack(spec, panel, rows.data());
    });
  }

  void run(const void* x, void* y, int64_t rows) override { multiply(x, y, rows, 0); }

  void run_wanted(const void* x, void* y, int64_t rows, int64_t columns,
                  std::span<const int32_t> wanted) override {
    const int64_t panels = columns / columns_;  // which only the wanted rows need
    const auto singles = static_cast<int64_t>(wanted.size());
    if (panels == 0 || singles * kSingleRowCost > rows || kernel_.widen != nullptr) return run(x, y, rows);
    multiply(x, y, rows, panels);
    parallel_ranges(panels, singles * columns_ * k_ / 4, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        for (const int32_t row : wanted) kernel_.multiply(tile_job(x, y, panel, row, row + 1));
      }
    });
  }

  void prepare(int64_t) override {}
  std::span<const std::byte> packed() const override { return {packed_.as<std::byte>(), packed_.bytes()}; }
  const char* implementation() const override { return kernel_.name; }

 private:
  // Tiles in the order [panels][tiles] from panel `first` on, cut into one part per thread.
  void multiply(const void* x, void* y, int64_t rows, int64_t first) {
    const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
    const int64_t work = rows * columns_ * k_ / tiles / 4;  // parallel_ranges counts scalar operations
    const float* floats = kernel_.widen == nullptr ? nullptr : widened(static_cast<const uint8_t*>(x), rows);
    parallel_ranges((panels_ - first) * tiles, work, [&](int64_t begin, int64_t end) {
      for (int64_t at = begin; at < end; ++at) {
        const int64_t panel = first + at / tiles, tile = at % tiles;
        TileJob job = tile_job(x, y, panel, rows * tile / tiles, rows * (tile + 1) / tiles);
        if (floats != nullptr) job.x_float = floats + rows * tile / tiles * k_;
        // Nobody has fetched the first tile's panel. The others of that panel share what it leaves undone.
        if (at != begin && tiles > 1 && panel + 1 < panels_) {
          const int64_t sharing = panel == first + begin / tiles ? tiles - 1 : tiles;
          job.fetch_bytes = step_bytes_ / sharing;
          job.fetch = panel_data(panel + 1) + (tile - tiles + sharing) * steps_ * job.fetch_bytes;
        }
        kernel_.multiply(job);
      }
    });
  }

  // Of rows [row, row_end); fetches its own panel.
  TileJob tile_job(const void* x, void* y, int64_t panel, int64_t row, int64_t row_end) const {
    TileJob job;
    job.panel = panel_data(panel);
    job.bias = bias_.empty() ? nullptr : bias_.data() + panel * columns_;
    if (!scales_.empty()) {
      job.scales = scales_.data() + panel * columns_;
      job.zero_sums = zero_sums_.data() + panel * columns_;
    }
    job.x = static_cast<const std::byte*>(x) + row * input_row_bytes_;
    job.y = static_cast<std::byte*>(y) + (row * n_ + panel * columns_) * output_bytes_;
    job.bfloat16_output = output_bytes_ == sizeof(uint16_t);
    job.n = n_;
    job.k = k_;
    job.rows = static_cast<int>(row_end - row);
    job.columns = static_cast<int>(std::min(columns_, n_ - panel * columns_));
    job.fetch = job.panel + kFetchAhead;
    job.fetch_bytes = step_bytes_;
    return job;
  }

  std::byte* panel_data(int64_t panel) const {
    return packed_.as<std::byte>() + panel * steps_ * step_bytes_;
  }

  const float* widened(const uint8_t* x, int64_t rows) const {
    thread_local AlignedBuffer floats;
    const size_t bytes = static_cast<size_t>(rows * k_) * sizeof(float);
    if (floats.bytes() < bytes) floats = AlignedBuffer(bytes);
    auto* const out = floats.as<float>();
    parallel_for(rows, k_, [&](int64_t r) { kernel_.widen(x + r * input_row_bytes_, out + r * k_, k_); });
    return out;
  }

  void sum_columns(const int8_t* rows, int64_t first, int64_t columns) {
    for (int64_t column = 0; column < columns; ++column) {
      int32_t sum = 0;
      for (int64_t k = 0; k < k_; ++k) sum += rows[column * k_ + k];
      zero_sums_[static_cast<size_t>(first + column)] = -kQuantisedZero * sum;
    }
  }

  template <typename ToFloat>
  void widen(const std::byte* rows, int64_t columns, uint32_t* to, ToFloat to_float) const {
    const auto* from = reinterpret_cast<const uint16_t*>(rows);
    for (int64_t step = 0; step < steps_; ++step, to += columns_) {
      for (int64_t c = 0; c < columns; ++c) to[c] = std::bit_cast<uint32_t>(to_float(from[c * k_ + step]));
    }
  }

  // By way of `rows`, read in one sequential pass: picked straight out of memory, every word would be waited
  // for.
  void pack(const LinearSpec& spec, int64_t panel, std::byte* rows) {
    const int64_t first = panel * columns_, columns = std::min(columns_, n_ - first);
    const auto stored_row_bytes = static_cast<size_t>(k_) * size_of(spec.stored);
    std::memcpy(rows,
                static_cast<const std::byte*>(spec.weight) + static_cast<size_t>(first) * stored_row_bytes,
                static_cast<size_t>(columns) * stored_row_bytes);
    if (spec.stored == DType::Int8) sum_columns(reinterpret_cast<const int8_t*>(rows), first, columns);
    auto* to = reinterpret_cast<uint32_t*>(panel_data(panel));
    if (columns < columns_) std::fill_n(to, steps_ * columns_, 0u);
    if (spec.stored == DType::Float16) return widen(rows, columns, to, float16_to_float);
    if (spec.stored != spec.compute) return widen(rows, columns, to, bfloat16_to_float);
    const int64_t row_bytes = k_ * input_bytes_;
    const std::byte* from = rows;
    const int64_t whole_steps = row_bytes / kPanelWordBytes;
    for (int64_t step = 0; step < whole_steps; ++step, to += columns_, from += kPanelWordBytes) {
      for (int64_t c = 0; c < columns; ++c) std::memcpy(to + c, from + c * row_bytes, kPanelWordBytes);
    }
    if (whole_steps == steps_) return;
    for (int64_t c = 0; c < columns; ++c) {
      to[c] = 0;
      std::memcpy(to + c, from + c * row_bytes, static_cast<size_t>(row_bytes % kPanelWordBytes));
    }
  }

  PanelKernel kernel_;
  int64_t columns_, n_, k_, input_bytes_, output_bytes_, input_row_bytes_, steps_, step_bytes_, panels_;
  AlignedBuffer packed_;
  std::vector<float> bias_, scales_;
  std::vector<int32_t> zero_sums_;
};

}  // namespace

std::unique_ptr<LinearKernel> make_panel_linear(const PanelKernel& kernel, const LinearSpec& spec) {
  return std::make_unique<PanelLinear>(kernel, spec);
}

}  // namespace kraken::cpu
