// The stream that sums travel on while the main stream computes, and the events that tie the two together.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>

namespace kraken::plugins {

// One more than may be under way would do; four also keep a send buffer untouched until every peer has read
// it (kernels/join_norm.h).
constexpr int32_t kSlots = 4;

// Switches that bring races out: how long either stream is held back at each exchange.
struct Stalls {
  int32_t side_microseconds = 0, main_microseconds = 0;
};

class SideStream {
 public:
  explicit SideStream(Stalls stalls);
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  // What is enqueued on stream() next runs after everything on `main` so far.
  void fork(int32_t slot, cudaStream_t main);
  void stall_side() const;
  cudaStream_t stream() const { return stream_; }
  // join() of this slot waits for everything on stream() so far.
  void mark(int32_t slot);
  void stall_main(cudaStream_t main) const;
  void join(int32_t slot, cudaStream_t main);

 private:
  void release();

  Stalls stalls_;
  cudaStream_t stream_ = nullptr;
  std::array<cudaEvent_t, kSlots> forked_{}, done_{};
};

}  // namespace kraken::plugins
