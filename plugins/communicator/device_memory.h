// Memory of this rank's device, and host memory that the device writes.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <new>
#include <type_traits>
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

// Mapped, so that a kernel's report is seen without a copy. Begins as T().
template <typename T>
class Mapped {
 public:
  Mapped() {
    void* host = nullptr;
    check_cuda(cudaHostAlloc(&host, sizeof(T), cudaHostAllocMapped | cudaHostAllocPortable),
               "allocating what the device reports in");
    host_ = new (host) T();
  }
  ~Mapped() { cudaFreeHost(host_); }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  T value() const {
    if constexpr (std::is_scalar_v<T>) {
      return *static_cast<const volatile T*>(host_);
    } else {
      return *host_;
    }
  }
  void set(T value) { *static_cast<volatile T*>(host_) = value; }
  T* device_address() const {
    void* address = nullptr;
    check_cuda(cudaHostGetDevicePointer(&address, host_, 0), "mapping what the device reports in");
    return static_cast<T*>(address);
  }

 private:
  T* host_ = nullptr;
};

using ErrorWord = Mapped<uint32_t>;

}  // namespace kraken::plugins
