// What every communicator does alike: which exchange uses which buffers, what goes on which stream, and that
// start and join belong together. How a sum is formed is left to who derives.
//
// Exchange e uses buffer e mod kSlots. Its send buffer is written again by exchange e+4, after every peer has
// finished reading it: a peer that takes part in exchange e+2 has read e before, and nobody comes to e+4
// without the peers' parts of e+2. In the next step e counts from 0 again. Where JoinNorms end the exchanges,
// a blocking sum must come between (a Kraken's conjunction is one); where others do, the all-reduce itself
// ends only when all have read.
#pragma once

#include <array>
#include <optional>

#include "communicator/communicator.h"
#include "communicator/exchange_timer.h"
#include "communicator/side_stream.h"

namespace kraken::plugins {

class OverlappedCommunicator : public DeviceCommunicator {
 public:
  SendTarget prepare(const Exchange& exchange) final;
  void start(const Exchange& exchange, cudaStream_t stream) final;
  JoinSource join(const Exchange& exchange, cudaStream_t stream) final;
  void all_reduce(kernels::DType dtype, int64_t count, const void* in, void* out, cudaStream_t stream) final;
  void time_exchanges() override { timer_.emplace(); }
  kernels::ExchangeTimes exchange_times() const final {
    return timer_ ? timer_->total() : kernels::ExchangeTimes();
  }

 protected:
  OverlappedCommunicator(int64_t capacity, Stalls stalls) : capacity_(capacity), side_(stalls) {}

  int64_t capacity() const { return capacity_; }
  // Where a join that waits in its own kernel leaves how long; null: nobody wants to know.
  kernels::ExchangeTimes* device_times() const { return timer_ ? timer_->device_address() : nullptr; }

  // The peers that the join reads directly, or null: the side stream forms the sum.
  virtual const kernels::PeerBuffers* folded(const Exchange& exchange, int32_t slot) const = 0;
  virtual void* send_buffer(int32_t slot) const = 0;
  virtual const void* receive_buffer(int32_t slot) const = 0;
  // Enqueues what adds up the ranks' send buffers of this slot into their receive buffers.
  virtual void reduce(const Exchange& exchange, int32_t slot, cudaStream_t stream) = 0;
  // all_reduce(), without its times.
  virtual void reduce_now(kernels::DType dtype, int64_t count, const void* in, void* out,
                          cudaStream_t stream) = 0;

 private:
  enum class State { Free, Prepared, Started };
  struct Slot {
    State state = State::Free;
    int32_t index = 0;
    const kernels::PeerBuffers* folded = nullptr;
  };
  Slot& slot_of(const Exchange& exchange, State expected, const char* call);

  int64_t capacity_;
  SideStream side_;
  std::optional<ExchangeTimer> timer_;
  std::array<Slot, kSlots> slots_;
};

}  // namespace kraken::plugins
