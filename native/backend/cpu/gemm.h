// Matrix products of the CPU backend on weights packed once at load, one packing for every M. A row's bits
// depend neither on M nor on the threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/dtype.h"

namespace kraken::cpu {

// The dtype of activations: bfloat16 for a bfloat16 or int8 engine where this machine multiplies bfloat16
// natively, else float32. Weights of 16 bits are then widened at load, and those of a float16 engine always:
// there is no arithmetic in float16 here.
DType compute_dtype(DType engine_dtype);

// Whether this machine multiplies int8 natively. If not, an int8 engine gives the same sums at the speed of
// float32.
bool int8_is_native();

// y[M,n] = x[M,k] · weight[n,k]ᵀ (+ bias[n]), float32 accumulation.
class PackedLinear {
 public:
  // weight: row-major [n, k] of `stored` dtype (read during construction only). bias: float32 [n] or null;
  // copied. compute: dtype of x. max_rows: largest M. int8: stored and compute are both int8, and weight row
  // i counts times scales[i] (copied). Packs on the calling thread's OpenMP team.
  PackedLinear(const void* weight, DType stored, const float* bias, int64_t n, int64_t k, DType compute,
               DType output, int64_t max_rows, const float* scales = nullptr);
  ~PackedLinear();
  PackedLinear(PackedLinear&&) noexcept;
  PackedLinear& operator=(PackedLinear&&) noexcept;

  // x: dense [rows, k] of `compute`, or of int8 the rows of quantised_rows.h; y: dense [rows, n] of `output`.
  // Uses the calling thread's OpenMP team.
  void run(const void* x, void* y, int64_t rows);

  // As run(), but the first `columns` columns are needed only of the rows in `wanted` (ascending): there,
  // other rows of y may keep what they held. Queries of a model's last layer are such columns.
  void run_wanted(const void* x, void* y, int64_t rows, int64_t columns, std::span<const int32_t> wanted);

  // Creates what run() needs for these many rows ahead of time.
  void prepare(int64_t rows);

  std::span<const std::byte> packed() const;
  int64_t n() const;
  int64_t k() const;
  // Name of the implementation, e.g. "avx512_bf16:panels" (shown by tests).
  const char* implementation() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kraken::cpu
