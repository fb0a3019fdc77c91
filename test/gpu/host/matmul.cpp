// Matrix products in place of cuBLASLt's, as plain loops that round where it does.
#include <cmath>

#include "cublaslt.h"

namespace kraken::test {
namespace {

double gelu(double x) {
  constexpr double kSqrt2OverPi = 0.7978845608028654;
  return 0.5 * x * (1 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
}

void multiply(const MatMul::Shape& shape, const char* a, const char* b, char* out) {
  const int64_t size = kernels::size_of(shape.dtype);
  const auto at = [&](const char* data, int64_t i) { return decode(shape.dtype, data + i * size); };
  for (int64_t batch = 0; batch < shape.batch; ++batch) {
    for (int64_t row = 0; row < shape.rows; ++row) {
      for (int64_t column = 0; column < shape.columns; ++column) {
        double sum = 0;
        for (int64_t k = 0; k < shape.depth; ++k) {
          const int64_t right =
              shape.transposes_b ? column * shape.b_leading + k : k * shape.b_leading + column;
          sum += at(a, batch * shape.a_stride + row * shape.a_leading + k) *
                 at(b, batch * shape.b_stride + right);
        }
        sum *= static_cast<double>(shape.scale);
        encode(shape.dtype, static_cast<float>(shape.has_gelu ? gelu(sum) : sum),
               out + (batch * shape.out_stride + row * shape.out_leading + column) * size);
      }
    }
  }
}

}  // namespace

struct MatMul::Api {};

MatMul::~MatMul() = default;

std::unique_ptr<MatMul> MatMul::open(std::string&) {
  return std::unique_ptr<MatMul>(new MatMul());
}

void MatMul::run(const Shape& shape, const void* a, const void* b, void* out, cudaStream_t) const {
  shim::enqueue([=] {
    multiply(shape, static_cast<const char*>(a), static_cast<const char*>(b), static_cast<char*>(out));
  });
}

}  // namespace kraken::test
