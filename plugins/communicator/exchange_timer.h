// Times of a rank's exchanges, from moments that are stamped on its two streams.
#pragma once

#include <cuda_runtime_api.h>

#include "communicator/device_memory.h"
#include "communicator/side_stream.h"
#include "kernels/exchange_times.h"

namespace kraken::plugins {

class ExchangeTimer {
 public:
  ExchangeTimer() : moments_((kSlots + 1) * int64_t{sizeof(kernels::ExchangeMoments)}) {}

  void started(int32_t slot, cudaStream_t side) { stamp(&moments(slot)->started, side); }
  void arrived(int32_t slot, cudaStream_t side) { stamp(&moments(slot)->arrived, side); }
  // Before the main stream waits, and after.
  void joining(int32_t slot, cudaStream_t main) { stamp(&moments(slot)->joined, main); }
  void joined(int32_t slot, cudaStream_t main) { account(slot, false, main); }

  void blocking_started(cudaStream_t main) { started(kSlots, main); }
  void blocking_arrived(cudaStream_t main) {
    arrived(kSlots, main);
    account(kSlots, true, main);
  }

  // For kernels that wait themselves.
  kernels::ExchangeTimes* device_address() const { return times_.device_address(); }
  // Complete once the work in question has been waited for.
  kernels::ExchangeTimes total() const { return times_.value(); }

 private:
  kernels::ExchangeMoments* moments(int32_t slot) const {
    return reinterpret_cast<kernels::ExchangeMoments*>(moments_.data()) + slot;
  }
  static void stamp(uint64_t* moment, cudaStream_t stream) {
    check_cuda(kernels::stamp(moment, stream), "timing an exchange");
  }
  void account(int32_t slot, bool is_blocking, cudaStream_t stream) {
    check_cuda(kernels::account(moments(slot), is_blocking, times_.device_address(), stream),
               "timing an exchange");
  }

  DeviceMemory moments_;
  Mapped<kernels::ExchangeTimes> times_;
};

}  // namespace kraken::plugins
