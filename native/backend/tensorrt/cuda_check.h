// CUDA's errors as exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "base/error.h"

namespace kraken::tensorrt {

inline void check_cuda(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // not to be found by the next call
  const std::string text = what + ": " + cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")";
  if (error == cudaErrorMemoryAllocation) throw Error("ERR_OUT_OF_MEMORY", text);
  throw Error("ERR_RANK_LOST", text);
}

}  // namespace kraken::tensorrt
