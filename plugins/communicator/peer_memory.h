// One allocation per rank, mapped by all: first flags, then send and receive buffers. Ranks that are threads
// of one process use each other's pointers, ranks that are processes CUDA's IPC handles.
#pragma once

#include <vector>

#include "communicator/device_memory.h"
#include "communicator/rendezvous.h"
#include "kernels/peer_buffers.h"

namespace kraken::plugins {

class PeerMemory {
 public:
  // All ranks at once. `pairs`: how many send and receive buffers of `capacity` bytes; `flag_sets`: how many
  // kernels may run side by side.
  PeerMemory(const Rendezvous& rendezvous, int64_t capacity, int32_t pairs, int32_t flag_sets);
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  // Whether every rank reaches every other's memory; all ranks answer the same. Otherwise problem() says why.
  bool complete() const { return problem_.empty(); }
  const std::string& problem() const { return problem_; }

  kernels::PeerBuffers buffers(int32_t pair, int32_t flag_set) const;

 private:
  int32_t rank_, ranks_;
  int64_t capacity_;
  int32_t flag_sets_;
  DeviceMemory own_;
  std::vector<char*> bases_;   // of every rank's allocation, as this rank sees it; null: not reached
  std::vector<void*> opened_;  // by IPC
  std::string problem_;
};

}  // namespace kraken::plugins
