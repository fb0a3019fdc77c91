// What goes wrong inside the library. Thrown by whoever notices, caught where TensorRT or C calls us: nothing
// crosses.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace kraken::plugins {

class PluginError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void check_cuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw PluginError(std::string(what) + " failed: " + cudaGetErrorString(error) + " (" +
                    cudaGetErrorName(error) + ")");
}

}  // namespace kraken::plugins
