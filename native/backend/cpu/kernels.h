// Vector kernels of the CPU backend: one pass over memory each. Raw pointers, dense rows, no allocation.
// Rows are spread over the calling thread's OpenMP team. `dtype` is the compute dtype: float32 or bfloat16.
#pragma once

#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "comm/addends.h"
#include "model/config.h"

namespace kraken::cpu {

// v = base + Σ addends; optionally stored; u = v + (Σ join − join_self) when join is given; out = Norm(u).
// All inputs [rows, width], float32 but for addends' and join's bfloat16 ones. Serves Norm, StartNorm,
// JoinNorm and the deferred residual adds.
struct NormPass {
  int64_t rows = 0;
  int64_t width = 0;
  const float* base = nullptr;  // null: zero
  Addends addends;
  float* sum = nullptr;  // v is stored here unless null; may alias base or one addend
  Addends join;
  // What is not to be joined: left out of the sum when it is one of join's parts (the same pointer), else
  // subtracted from it (a sum received as a whole).
  const float* join_self = nullptr;
  NormKind kind = NormKind::Layer;
  float eps = 1e-5f;
  const float* weight = nullptr;  // [width]
  const float* bias = nullptr;    // [width] or null
  void* out = nullptr;            // [rows, width] dtype (int8: quantised rows); null: only the sum
  DType dtype = DType::Float32;
};
void norm_pass(const NormPass& pass);

// In place on [rows, n]: tanh- or erf-GELU.
void gelu(Activation kind, void* x, int64_t rows, int64_t n, DType dtype);

// x[rows, 2·n] holds gate then up; out[rows, n] = silu(gate) · up. out may not alias x.
void swiglu(const void* x, void* out, int64_t rows, int64_t n, DType dtype);

// out[rows, width] float32 = table[ids[r]] (+ positions_table[positions[r]]); tables of `stored` dtype.
void embed(const int32_t* ids, const int32_t* positions, const void* table, const void* position_table,
           float* out, int64_t rows, int64_t width, DType stored);

// out[r] = x[index[r]] for rows of `row_bytes` bytes.
void gather_rows(const void* x, const int32_t* index, void* out, int64_t rows, int64_t row_bytes);

// Rotates the first `heads` heads of each row of x[rows, row_width] in place (queries and keys lie first).
// cos, sin: [max_positions, dims/2] float32.
void rotate(void* x, const int32_t* positions, const float* cos, const float* sin, int64_t rows,
            int64_t row_width, int heads, int head_dim, int dims, bool interleaved, DType dtype);

// x[n] float32 := widened or rounded copy.
void convert(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n);

// For sampling, over float32 logits[n]: index of the largest (lowest index among equals), and
// log Σ exp(logit) computed stably.
int32_t argmax(const float* logits, int64_t n);
float log_sum_exp(const float* logits, int64_t n);

// Exclusive or of all words: reads memory as fast as the machine can and needs every byte of it.
uint64_t fold_words(const uint64_t* words, int64_t count);

// What Highway's kernels were dispatched to, e.g. "AVX2" or "AVX3_ZEN4".
const char* highway_target();

}  // namespace kraken::cpu
