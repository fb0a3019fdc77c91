// Stands in for plugins/kernels/ptx.cuh: the system-scope flags of the ranks are C++'s own atomics.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

#include "cuda_runtime.h"

namespace kraken::kernels {

inline void store_release_system(uint32_t* address, uint32_t value) {
  std::atomic_ref<uint32_t>(*address).store(value, std::memory_order_release);
}
inline uint32_t load_acquire_system(uint32_t* address) {
  return std::atomic_ref<uint32_t>(*address).load(std::memory_order_acquire);
}
inline void store_relaxed_system(uint32_t* address, uint32_t value) {
  std::atomic_ref<uint32_t>(*address).store(value, std::memory_order_relaxed);
}
inline uint32_t load_relaxed_system(uint32_t* address) {
  return std::atomic_ref<uint32_t>(*address).load(std::memory_order_relaxed);
}

// Plain accesses: that nobody writes what a peer reads is for ThreadSanitizer to see.
inline uint4 load_peer16(const void* address) {
  return *static_cast<const uint4*>(address);
}
template <typename T>
T load_peer(const T* address) {
  return *address;
}

inline uint64_t nanoseconds() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}
inline void spin_pause() {
  shim::pause();
}

}  // namespace kraken::kernels

namespace kraken::shim {

// A multicast address is one whose offset from `base` means the same offset in every replica. Here `base` is
// memory of the test's own that nothing touches.
void register_multicast(const void* base, size_t bytes, std::vector<void*> replicas);
void forget_multicast(const void* base);
// The replicas of this address.
std::vector<void*> multicast_replicas(const void* address);

}  // namespace kraken::shim
