// Memory of this rank's device, and a word of host memory that the device writes.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <utility>

#include "common/error.h"

namespace kraken::plugins {

class DeviceMemory {
 public:
  explicit DeviceMemory(int64_t bytes) {
    check_cuda(cudaMalloc(&data_, static_cast<size_t>(bytes)), "allocating exchange buffers");
    cudaError_t error = cudaMemset(data_, 0, static_cast<size_t>(bytes));
    // It does not wait for itself, and neither do the streams and peers that use the memory next.
    if (error == cudaSuccess) error = cudaDeviceSynchronize();
    if (error != cudaSuccess) {
      cudaFree(data_);
      check_cuda(error, "clearing exchange buffers");
    }
  }
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  char* data() const { return static_cast<char*>(data_); }

 private:
  void* data_ = nullptr;
};

// Mapped, so that a kernel's report is seen without a copy.
class ErrorWord {
 public:
  ErrorWord() {
    void* host = nullptr;
    check_cuda(cudaHostAlloc(&host, sizeof(uint32_t), cudaHostAllocMapped | cudaHostAllocPortable),
               "allocating the error word");
    host_ = static_cast<volatile uint32_t*>(host);
    *host_ = 0;
  }
  ~ErrorWord() { cudaFreeHost(const_cast<uint32_t*>(host_)); }
  ErrorWord(const ErrorWord&) = delete;
  ErrorWord& operator=(const ErrorWord&) = delete;

  uint32_t value() const { return *host_; }
  void set(uint32_t value) { *host_ = value; }
  uint32_t* device_address() const {
    void* address = nullptr;
    check_cuda(cudaHostGetDevicePointer(&address, const_cast<uint32_t*>(host_), 0), "mapping the error word");
    return static_cast<uint32_t*>(address);
  }

 private:
  volatile uint32_t* host_ = nullptr;
};

}  // namespace kraken::plugins
