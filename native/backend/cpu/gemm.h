// Matrix products of the CPU backend on weights packed once at load, one packing for every M. A row's bits
// depend neither on M nor on the threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/dtype.h"

namespace kraken::cpu {

// Whether this machine multiplies bfloat16 natively. If not, a bfloat16 engine is computed in float32 from
// weights widened at load (every other part follows `compute_dtype`).
DType compute_dtype(DType engine_dtype);

// y[M,n] = x[M,k] · weight[n,k]ᵀ (+ bias[n]), float32 accumulation.
class PackedLinear {
 public:
  // weight: row-major [n, k] of `stored` dtype (float32 or bfloat16; read during construction only).
  // bias: float32 [n] or null; copied. compute: dtype of x. max_rows: largest M.
  // Packs on the calling thread's OpenMP team.
  PackedLinear(const void* weight, DType stored, const float* bias, int64_t n, int64_t k, DType compute,
               DType output, int64_t max_rows);
  ~PackedLinear();
  PackedLinear(PackedLinear&&) noexcept;
  PackedLinear& operator=(PackedLinear&&) noexcept;

  // x: dense [rows, k] of `compute`; y: dense [rows, n] of `output`. Uses the calling thread's OpenMP team.
  void run(const void* x, void* y, int64_t rows);

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
