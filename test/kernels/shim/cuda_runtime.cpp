// Devices, and what errors are called.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "cuda_runtime_api.h"

namespace {

std::atomic<int> major{9}, minor{0};
thread_local int current_device = 0;
std::mutex grants_mutex;
std::map<const void*, size_t> grants;  // of dynamic shared memory, by kernel

int device_count() {
  static const int count = [] {
    const char* text = std::getenv("KRAKEN_SHIM_DEVICES");
    return text == nullptr ? 1 : std::atoi(text);
  }();
  return count;
}

}  // namespace

void kraken::shim::set_compute_capability(int major_version, int minor_version) {
  major = major_version;
  minor = minor_version;
}

void kraken::shim::grant_dynamic_bytes(const void* kernel, size_t bytes) {
  const std::lock_guard lock(grants_mutex);
  grants[kernel] = bytes;
}

size_t kraken::shim::granted_dynamic_bytes(const void* kernel) {
  const std::lock_guard lock(grants_mutex);
  const auto granted = grants.find(kernel);
  return granted == grants.end() ? kDynamicBytesWithoutAsking : granted->second;
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorPeerAccessAlreadyEnabled:
      return "peer access is already enabled";
    case cudaErrorNotSupported:
      return "operation not supported";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
  }
  return "unrecognized error code";
}

const char* cudaGetErrorName(cudaError_t) {
  return "of the stand-in for CUDA";
}

cudaError_t cudaGetLastError() {
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = device_count();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count()) return cudaErrorInvalidDevice;
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* possible, int, int) {
  *possible = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned int) {
  return peer != current_device && peer < device_count() ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? major : minor;
  return cudaSuccess;
}

// KRAKEN_SHIM_FIRST_BUS: where the first device is, so that two processes may see other devices.
cudaError_t cudaDeviceGetPCIBusId(char* name, int length, int device) {
  const char* first = std::getenv("KRAKEN_SHIM_FIRST_BUS");
  const int bus = (first == nullptr ? 0 : std::atoi(first)) + device;
  std::snprintf(name, static_cast<size_t>(length), "0000:%02x:00.0", bus);
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::snprintf(properties->name, sizeof properties->name, "stand-in for a GPU");
  properties->major = major;
  properties->minor = minor;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  return kraken::shim::is_capturing() ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}
