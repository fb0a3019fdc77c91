// Stands in for plugins/kernels/ptx.cuh: the system-scope flags of the ranks are C++'s own atomics.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

#include "cuda_runtime.h"

namespace kraken::shim {

// What fence_between_addresses() must come between, of this rank, which is a thread: a barrier and multicast
// accesses, multicast stores and plain loads of what they wrote. Atomic, as fibers are threads to
// ThreadSanitizer.
inline thread_local std::atomic<bool> barrier_without_fence = false, multicast_store_without_fence = false;
[[noreturn]] void lacks_fence();

}  // namespace kraken::shim

namespace kraken::kernels {

inline void store_release_system(uint32_t* address, uint32_t value) {
  shim::barrier_without_fence = true;
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

inline void fence_between_addresses() {
  shim::barrier_without_fence = shim::multicast_store_without_fence = false;
}

// Plain accesses: that nobody writes what a peer reads is for ThreadSanitizer to see.
inline uint4 load_peer16(const void* address) {
  if (shim::multicast_store_without_fence) shim::lacks_fence();
  return *static_cast<const uint4*>(address);
}
template <typename T>
T load_peer(const T* address) {
  if (shim::multicast_store_without_fence) shim::lacks_fence();
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
