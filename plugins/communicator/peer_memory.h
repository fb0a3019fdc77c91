// One allocation per rank, mapped by all: first flags, then send and receive buffers. Multicast memory where
// it can be had; else plain memory, of which ranks that are threads of one process use each other's pointers,
// ranks that are processes CUDA's IPC handles.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "communicator/device_memory.h"
#include "communicator/multicast_memory.h"
#include "communicator/rendezvous.h"
#include "kernels/peer_buffers.h"

namespace kraken::plugins {

class PeerMemory {
 public:
  struct Layout {
    int64_t capacity = 0;   // bytes of a buffer
    int32_t pairs = 1;      // of a send and a receive buffer
    int32_t flag_sets = 1;  // how many kernels may run side by side
  };
  // All ranks at once.
  PeerMemory(const Rendezvous& rendezvous, const Layout& layout, bool wants_multicast);
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  // Whether every rank reaches every other's memory; all ranks answer the same. Otherwise problem() says why.
  bool complete() const { return problem_.empty(); }
  const std::string& problem() const { return problem_; }

  // Why it is plain memory; empty when it is multicast memory.
  const std::string& multicast_problem() const { return multicast_problem_; }

  kernels::PeerBuffers buffers(int32_t pair, int32_t flag_set) const;
  // From any thread, while kernels run: this rank's collectives that use these flags end at once.
  void abort(int32_t flag_set, uint32_t lost) const;

 private:
  void exchange_handles(const Rendezvous& rendezvous);
  int64_t flag_bytes() const;

  int32_t rank_, ranks_;
  int device_ = 0;
  Layout layout_;
  std::string multicast_problem_;
  std::unique_ptr<MulticastMemory> multicast_;
  std::unique_ptr<DeviceMemory> own_;  // where there is no multicast memory
  std::vector<char*> bases_;           // of every rank's allocation, as this rank sees it; null: not reached
  std::vector<void*> opened_;          // by IPC
  std::string problem_;
  std::unique_ptr<std::remove_pointer_t<cudaStream_t>, cudaError_t (*)(cudaStream_t)> aborts_{
      nullptr, cudaStreamDestroy};
};

}  // namespace kraken::plugins
