// A group of ranks that share buffers: threads of this process, each with a stream. On a machine with several
// GPUs they are dealt to them in turn; fewer GPUs than ranks, and ranks share one.
#pragma once

#include <cuda_runtime_api.h>

#include <exception>
#include <functional>
#include <thread>

#include "peer_buffers.h"
#include "values.h"

namespace kraken::test {

// How many GPUs ranks are dealt to: one where they do not all reach each other's memory.
inline int usable_devices() {
  int devices = 0;
  KRAKEN_CUDA(cudaGetDeviceCount(&devices));
  for (int device = 0; device < devices; ++device) {
    for (int peer = 0; peer < devices; ++peer) {
      int possible = 1;
      if (peer != device) KRAKEN_CUDA(cudaDeviceCanAccessPeer(&possible, device, peer));
      if (!possible) return 1;
    }
  }
  return devices;
}

class RankGroup {
 public:
  // Buffers of `bytes`, rounded up to whole vectors.
  RankGroup(int ranks, int64_t bytes, uint64_t timeout_ns = uint64_t{20} * 1000 * 1000 * 1000)
      : ranks_(static_cast<size_t>(ranks)), peers_(ranks_), streams_(ranks_) {
    enable_peer_access();
    const int64_t capacity = (bytes + 15) / 16 * 16;
    for (size_t rank = 0; rank < ranks_; ++rank) {
      KRAKEN_CUDA(cudaSetDevice(device_of(rank)));
      // The default stream must wait for no rank: a rank that fills its memory would wait for one that waits
      // for it.
      KRAKEN_CUDA(cudaStreamCreateWithFlags(&streams_[rank], cudaStreamNonBlocking));
      send_.push_back(zeroed(static_cast<size_t>(capacity)));
      receive_.push_back(zeroed(static_cast<size_t>(capacity)));
      flags_.push_back(zeroed(sizeof(kernels::Flags)));
      errors_.push_back(zeroed(sizeof(uint32_t)));
    }
    for (size_t rank = 0; rank < ranks_; ++rank) {
      kernels::PeerBuffers& peers = peers_[rank];
      peers.rank = static_cast<int32_t>(rank);
      peers.ranks = ranks;
      peers.capacity = capacity;
      peers.timeout_ns = timeout_ns;
      peers.error = reinterpret_cast<uint32_t*>(errors_[rank].get());
      for (size_t peer = 0; peer < ranks_; ++peer) {
        peers.send[peer] = send_[peer].get();
        peers.receive[peer] = receive_[peer].get();
        peers.flags[peer] = reinterpret_cast<kernels::Flags*>(flags_[peer].get());
      }
    }
  }
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;
  ~RankGroup() {
    for (const cudaStream_t stream : streams_) cudaStreamDestroy(stream);
  }

  int ranks() const { return static_cast<int>(ranks_); }
  kernels::PeerBuffers& peers(int rank) { return peers_[static_cast<size_t>(rank)]; }

  // body(rank, stream) on a thread each; then waits for the streams. The first exception is thrown again.
  void run(const std::function<void(int, cudaStream_t)>& body) {
    std::vector<std::thread> threads;
    std::vector<std::exception_ptr> failures(ranks_);
    for (size_t rank = 0; rank < ranks_; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          KRAKEN_CUDA(cudaSetDevice(device_of(rank)));
          body(static_cast<int>(rank), streams_[rank]);
          KRAKEN_CUDA(cudaStreamSynchronize(streams_[rank]));
        } catch (...) {
          failures[rank] = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
  }

  int devices() const { return devices_; }

  // 0, or 1 + the rank that this one lost.
  uint32_t error(int rank) const {
    uint32_t value = 0;
    KRAKEN_CUDA(
        cudaMemcpy(&value, errors_[static_cast<size_t>(rank)].get(), sizeof value, cudaMemcpyDefault));
    return value;
  }

  // Memory of a rank's device.
  Array array(int rank, DType dtype, int64_t count, int64_t offset = 0) const {
    KRAKEN_CUDA(cudaSetDevice(device_of(static_cast<size_t>(rank))));
    return Array(dtype, count, offset);
  }

 private:
  int device_of(size_t rank) const { return static_cast<int>(rank) % devices_; }

  static DeviceMemory zeroed(size_t bytes) {
    DeviceMemory memory = device_memory(bytes);
    KRAKEN_CUDA(cudaMemset(memory.get(), 0, bytes));
    KRAKEN_CUDA(cudaStreamSynchronize(nullptr));
    return memory;
  }

  void enable_peer_access() const {
    for (int device = 0; device < devices_; ++device) {
      KRAKEN_CUDA(cudaSetDevice(device));
      for (int peer = 0; peer < devices_; ++peer) {
        if (peer == device) continue;
        const cudaError_t error = cudaDeviceEnablePeerAccess(peer, 0);
        if (error == cudaErrorPeerAccessAlreadyEnabled) {
          cudaGetLastError();
        } else {
          require(error, "peer access");
        }
      }
    }
  }

  size_t ranks_;
  int devices_ = usable_devices();
  std::vector<kernels::PeerBuffers> peers_;
  std::vector<cudaStream_t> streams_;
  std::vector<DeviceMemory> send_, receive_, flags_, errors_;
};

}  // namespace kraken::test
