// What all kernels share: element types, kinds of norm, and what a norm needs besides its input. Raw pointers
// and a stream, no framework's header; C++17, so that nvcc and every plugin can include it.
//
// Every launcher checks its arguments before it launches (cudaErrorInvalidValue), launches nothing for an
// empty tensor, allocates nothing and waits for nothing, so all of them may be captured in a CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace kraken::kernels {

enum class DType : int32_t { Float32, Float16, BFloat16 };
enum class NormKind : int32_t { Layer, Rms };

inline int64_t size_of(DType dtype) {
  return dtype == DType::Float32 ? 4 : 2;
}

constexpr int32_t kMaxWidth = 16384;

// Norm over the last dimension of [W,T,d], with weights of each way. Statistics and arithmetic are float32.
struct NormSpec {
  NormKind kind = NormKind::Layer;
  DType dtype = DType::Float32;  // of every tensor but weight and bias
  int32_t ways = 1;              // W
  int64_t tokens = 0;            // T
  int32_t width = 0;             // d: anything from 1 to kMaxWidth; aligned rows are faster, not required
  float epsilon = 1e-5f;
  const float* weight = nullptr;  // [W,d]
  const float* bias = nullptr;    // [W,d], or null
};

}  // namespace kraken::kernels
