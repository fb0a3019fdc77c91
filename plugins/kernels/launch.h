// What launchers share: dispatch on the dtype, and a launch whose error is the answer.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <utility>

#include "types.h"

namespace kraken::kernels {

// Calls launch(T()) with T the element type.
template <typename Launch>
cudaError_t dispatch(DType dtype, Launch&& launch) {
  switch (dtype) {
    case DType::Float32:
      return launch(float());
    case DType::Float16:
      return launch(__half());
    case DType::BFloat16:
      return launch(__nv_bfloat16());
  }
  return cudaErrorInvalidValue;
}

// With so many bytes of dynamic shared memory.
template <typename... Parameters, typename... Arguments>
cudaError_t launch_with_memory(void (*kernel)(Parameters...), dim3 grid, unsigned int threads, size_t bytes,
                               cudaStream_t stream, Arguments&&... arguments) {
  // 48 KiB need no asking, but the kernel's static memory takes part of them: how much, the compiler knows.
  if (bytes > 0) {
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, unsigned int threads, cudaStream_t stream,
                   Arguments&&... arguments) {
  return launch_with_memory(kernel, grid, threads, 0, stream, std::forward<Arguments>(arguments)...);
}

constexpr unsigned int round_up(unsigned int value, unsigned int multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

inline bool is_aligned(const void* pointer, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) == 0;
}

}  // namespace kraken::kernels
