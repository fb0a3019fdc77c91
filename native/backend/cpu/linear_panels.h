// Linear layers on weights packed in panels: [n / columns][steps][columns] words, where a word is what one
// multiply-add takes of a column (a float32, two consecutive bfloat16 or four int8) and a step is one word of
// every column. A tile is a few rows by one panel with all its sums in registers, each one chain over k from
// first to last, so a row's bits depend neither on M nor on the threads.
//
// Few rows are bound by reading the weights, many by arithmetic. So that a number between takes little more
// than the longer of the two, and not their sum, the tiles of a panel fetch the next one, each an even share
// of it; a single tile fetches a little ahead of itself.
//
// Plain types and templates over a kernel's own types only: this is also compiled with AVX-512 flags, and a
// shared inline function compiled that way could be the copy that the linker keeps for everyone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kraken::cpu {

inline constexpr int kPanelWordBytes = 4;
inline constexpr int kTileRows = 6;
inline constexpr int kCacheLine = 64;

struct TileJob {
  const std::byte* panel = nullptr;
  const float* bias = nullptr;  // of the panel's columns, padded to its width; or null
  const void* x = nullptr;      // first row of the tile; pitch k
  void* y = nullptr;            // first row, first column of the panel; pitch n
  bool bfloat16_output = false;
  int64_t n = 0, k = 0;
  int rows = 0;     // at most kTileRows
  int columns = 0;  // at most the kernel's

  // int8 only: x are quantised rows (quantised_rows.h), and y = (Σ (x − 128) · weight) · (row's scale ·
  // column's scale) + bias (or 0), the sum in exact 32-bit integers, the rest float32 in this order: the same
  // bits everywhere.
  const float* scales = nullptr;       // of the panel's columns, padded to its width
  const int32_t* zero_sums = nullptr;  // likewise: −128 · Σ weights of the column
  const float* x_float = nullptr;      // x − 128, pitch k: for kernels that have `widen`

  // Fetched into the second-level cache meanwhile: fetch_bytes a step, from here on.
  const std::byte* fetch = nullptr;
  int64_t fetch_bytes = 0;
};

struct PanelKernel {
  const char* name = nullptr;
  int64_t columns = 0;  // of a panel
  void (*multiply)(const TileJob& job) = nullptr;
  void (*widen)(const uint8_t* row, float* out, int64_t k) = nullptr;  // a quantised row to TileJob::x_float
};

PanelKernel float32_panel_kernel();
PanelKernel int8_panel_kernel();  // runs anywhere, at the speed of float32
// `multiply` is null where the translation unit could not be compiled for it (another architecture).
PanelKernel avx512_bf16_panel_kernel();
PanelKernel avx512_vnni_panel_kernel();

// --- For the kernels. Tile: a type of one translation unit and one instruction set.

[[gnu::always_inline]] inline void fetch_to_second_level(const std::byte* address) {
  __builtin_prefetch(address, 0, 2);
}

template <typename Tile, int kVectors, int kLines>
void multiply_rows(const TileJob& job) {
  switch (job.rows) {
    case 1:
      return Tile::template multiply<1, kVectors, kLines>(job);
    case 2:
      return Tile::template multiply<2, kVectors, kLines>(job);
    case 3:
      return Tile::template multiply<3, kVectors, kLines>(job);
    case 4:
      return Tile::template multiply<4, kVectors, kLines>(job);
    case 5:
      return Tile::template multiply<5, kVectors, kLines>(job);
    default:
      return Tile::template multiply<kTileRows, kVectors, kLines>(job);
  }
}

// kVectors: what the panel's columns fill. The last panel may need fewer; it only ever fetches for itself.
template <typename Tile, int kVectors = Tile::kPanelVectors>
void multiply_columns(const TileJob& job) {
  if constexpr (kVectors > 1) {
    if (job.columns <= (kVectors - 1) * Tile::kLanes) return multiply_columns<Tile, kVectors - 1>(job);
  }
  constexpr int kLines = (kVectors * Tile::kLanes * kPanelWordBytes + kCacheLine - 1) / kCacheLine;
  if constexpr (kVectors == Tile::kPanelVectors && kLines > 2) {
    if (job.fetch_bytes <= kCacheLine) return multiply_rows<Tile, kVectors, 1>(job);
    if (job.fetch_bytes <= 2 * kCacheLine) return multiply_rows<Tile, kVectors, 2>(job);
  }
  multiply_rows<Tile, kVectors, kLines>(job);
}

template <typename Tile>
PanelKernel panel_kernel_of(const char* name) {
  return {name, Tile::kPanelVectors * Tile::kLanes, multiply_columns<Tile>};
}

}  // namespace kraken::cpu
