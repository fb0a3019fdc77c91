// What PackedLinear chooses between: our own kernels, and oneDNN's where the machine multiplies in AMX tiles.
// All give a row the same bits whatever M and the thread count are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "backend/cpu/linear_panels.h"
#include "base/dtype.h"

namespace kraken::cpu {

class LinearKernel {
 public:
  virtual ~LinearKernel() = default;
  virtual void run(const void* x, void* y, int64_t rows) = 0;
  // As run(), but the first `columns` columns are needed of the rows in `wanted` only; what others get there
  // is up to the kernel.
  virtual void run_wanted(const void* x, void* y, int64_t rows, int64_t /*columns*/,
                          std::span<const int32_t> /*wanted*/) {
    run(x, y, rows);
  }
  virtual void prepare(int64_t rows) = 0;
  virtual std::span<const std::byte> packed() const = 0;
  virtual const char* implementation() const = 0;
};

struct LinearSpec {
  const void* weight = nullptr;  // [n, k] of `stored`
  DType stored = DType::Float32;
  const float* bias = nullptr;  // [n] or null
  int64_t n = 0, k = 0;
  DType compute = DType::Float32, output = DType::Float32;
  int64_t max_rows = 1;
  const float* scales = nullptr;  // [n], int8 only
};

// kernel: one that multiplies `spec.compute`.
std::unique_ptr<LinearKernel> make_panel_linear(const PanelKernel& kernel, const LinearSpec& spec);

// Its version, or why this build has none (no_onednn.cpp).
std::string onednn_version();

// Whether oneDNN multiplies bfloat16 in AMX tiles here.
bool onednn_has_matrix_tiles();

// Null when oneDNN would not run these shapes with one batch-reduce ("brg") kernel at every M.
std::unique_ptr<LinearKernel> make_onednn_linear(const LinearSpec& spec);

}  // namespace kraken::cpu
