// How a rank's plugins exchange sums while other work runs. One communicator per rank, made by all ranks
// together; it owns the memory that is sent and received, so the side stream never touches TensorRT's.
//
// An exchange e is three calls while its kernels are enqueued, none of which allocates or waits for the
// device:
//
//   prepare(e)   where StartNorm writes the rank's part
//   start(e)     after StartNorm's kernel was enqueued: from here on the sum travels, beside what is enqueued
//   next join(e)      whatever is enqueued next may read the sum
//
// All ranks make the same calls in the same order. Two exchanges may be under way at once, so that one may
// start before the last was joined. Everything may be captured in a CUDA graph, as each start has its join in
// the same capture.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>

#include "kernels/exchange_times.h"
#include "kernels/peer_buffers.h"
#include "kernels/types.h"

namespace kraken::plugins {

struct Exchange {
  int32_t index = 0;  // e
  kernels::DType dtype = kernels::DType::Float32;
  int64_t count = 0;            // elements
  bool joined_by_norm = false;  // JoinNorm ends it, which can add up the peers' parts itself
  int64_t bytes() const { return count * kernels::size_of(dtype); }
};

// Where the rank's part goes, and whom to tell when it is there (null: nobody, start() sends it).
struct SendTarget {
  void* sum = nullptr;
  const kernels::PeerBuffers* announce = nullptr;
};

// The sum, or the peers whose parts are still to be added up: one of the two is null.
struct JoinSource {
  const void* sum = nullptr;
  const kernels::PeerBuffers* peers = nullptr;
};

// Every call throws PluginError.
class DeviceCommunicator {
 public:
  virtual ~DeviceCommunicator() = default;

  virtual SendTarget prepare(const Exchange& exchange) = 0;
  virtual void start(const Exchange& exchange, cudaStream_t stream) = 0;
  virtual JoinSource join(const Exchange& exchange, cudaStream_t stream) = 0;
  // Blocking for the stream, not for the host: out = Σ in over ranks, of any size. out may be in.
  virtual void all_reduce(kernels::DType dtype, int64_t count, const void* in, void* out,
                          cudaStream_t stream) = 0;

  // From here on exchanges are timed, which costs four small kernels each. Before the first of them.
  virtual void time_exchanges() = 0;
  // Of all so far, zero when they are not timed. Meaningful once the work in question has been waited for.
  virtual kernels::ExchangeTimes exchange_times() const = 0;

  // From any thread, when a rank is known to be lost: what waits for it on the device ends, with whatever its
  // output held, and failure() says so from then on.
  virtual void abort(int32_t lost_rank) noexcept = 0;

  // Empty while all is well, else what was lost. Meaningful once the work in question has been waited for.
  virtual std::string failure() const = 0;
  virtual std::string transport() const = 0;
};

}  // namespace kraken::plugins
