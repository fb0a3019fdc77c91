// Memory: of this process alone, or files of memory that other processes can open too.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "cuda_runtime_api.h"

// A test's own, where it has one.
extern "C" __attribute__((weak)) void kraken_shim_opens_peer_memory();

namespace {

struct SharedRange {
  int file = -1;  // −1: of another process
  size_t bytes = 0;
};
std::mutex mutex;
std::map<void*, SharedRange> shared_ranges;

bool makes_shared_memory() {
  static const bool shared = std::getenv("KRAKEN_SHIM_SHARED") != nullptr;
  return shared;
}

cudaError_t map(int file, size_t bytes, SharedRange range, void** pointer) {
  *pointer = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (*pointer == MAP_FAILED) return cudaErrorMemoryAllocation;
  const std::lock_guard lock(mutex);
  shared_ranges[*pointer] = range;
  return cudaSuccess;
}

// False where it is no such memory.
bool unmap(void* pointer) {
  const std::lock_guard lock(mutex);
  const auto range = shared_ranges.find(pointer);
  if (range == shared_ranges.end()) return false;
  munmap(pointer, range->second.bytes);
  if (range->second.file >= 0) close(range->second.file);
  shared_ranges.erase(range);
  return true;
}

// What a handle holds: who has the file, and which it is there.
struct SharedFile {
  int process, file;
  size_t bytes;
};

}  // namespace

// Exactly as large as asked for, so that AddressSanitizer sees the first byte beyond it.
cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  if (!makes_shared_memory() || bytes == 0) {
    return posix_memalign(pointer, 256, bytes) == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
  }
  const int file = memfd_create("shim", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes)) != 0) return cudaErrorMemoryAllocation;
  return map(file, bytes, {file, bytes}, pointer);
}

cudaError_t cudaFree(void* pointer) {
  if (!unmap(pointer)) std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned int) {
  return posix_memalign(pointer, 256, bytes) == 0 ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void* pointer) {
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned int) {
  *device = host;
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  if (kraken::shim::is_capturing()) return cudaErrorStreamCaptureUnsupported;
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  kraken::shim::enqueue([=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemset(void* pointer, int value, size_t bytes) {
  std::memset(pointer, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* pointer) {
  const std::lock_guard lock(mutex);
  const auto range = shared_ranges.find(pointer);
  if (range == shared_ranges.end() || range->second.file < 0) return cudaErrorNotSupported;
  const SharedFile shared{getpid(), range->second.file, range->second.bytes};
  std::memcpy(handle->reserved, &shared, sizeof shared);
  return cudaSuccess;
}

cudaError_t cudaIpcOpenMemHandle(void** pointer, cudaIpcMemHandle_t handle, unsigned int) {
  if (kraken_shim_opens_peer_memory != nullptr) kraken_shim_opens_peer_memory();
  SharedFile shared;
  std::memcpy(&shared, handle.reserved, sizeof shared);
  const std::string path = "/proc/" + std::to_string(shared.process) + "/fd/" + std::to_string(shared.file);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return cudaErrorInvalidValue;
  const cudaError_t error = map(file, shared.bytes, {-1, shared.bytes}, pointer);
  close(file);
  return error;
}

cudaError_t cudaIpcCloseMemHandle(void* pointer) {
  return unmap(pointer) ? cudaSuccess : cudaErrorInvalidValue;
}
