// Matrix products through cuBLASLt, opened at run time: what this machine has, or nothing. Declared here, as
// far as it is used, so that building needs no headers of it; the values are cuBLAS's.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <string>

#include "values.h"

namespace kraken::test {

class MatMul {
 public:
  // Null, and why, where the library cannot be used.
  static std::unique_ptr<MatMul> open(std::string& reason);
  ~MatMul();
  MatMul(const MatMul&) = delete;
  MatMul& operator=(const MatMul&) = delete;

  // out[batch,rows,columns] = a[batch,rows,depth] · b[batch,depth,columns], row-major, optionally tanh-GELU
  // of it; `transposes_b`: b is [batch,columns,depth]. scale multiplies the product. Leading dimensions and
  // strides between batches in elements; accumulates in float32. Throws std::runtime_error.
  struct Shape {
    DType dtype;
    int64_t rows, columns, depth, batch;
    int64_t a_leading, a_stride, b_leading, b_stride, out_leading, out_stride;
    bool transposes_b = false, has_gelu = false;
    float scale = 1.0f;
  };
  void run(const Shape& shape, const void* a, const void* b, void* out, cudaStream_t stream) const;

 private:
  MatMul() = default;
  struct Api;
  std::unique_ptr<Api> api_;
};

}  // namespace kraken::test
