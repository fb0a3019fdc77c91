// Exchanges through NCCL alone: where ranks do not reach each other's memory.
#pragma once

#include "communicator/device_memory.h"
#include "communicator/nccl_group.h"
#include "communicator/overlapped_communicator.h"

namespace kraken::plugins {

class NcclCommunicator : public OverlappedCommunicator {
 public:
  // All ranks at once.
  NcclCommunicator(const Rendezvous& rendezvous, int64_t capacity, std::chrono::nanoseconds timeout,
                   Stalls stalls)
      : OverlappedCommunicator(capacity, stalls),
        stride_((capacity + 255) / 256 * 256),
        memory_(2 * kSlots * stride_),
        group_(rendezvous, timeout) {}

  void abort(int32_t lost_rank) noexcept override { group_.abort(lost_rank); }
  std::string failure() const override { return group_.failure(); }
  std::string transport() const override { return "NCCL " + NcclGroup::version(); }

 protected:
  void reduce_now(kernels::DType dtype, int64_t count, const void* in, void* out,
                  cudaStream_t stream) override {
    group_.all_reduce(dtype, count, in, out, stream);
  }
  const kernels::PeerBuffers* folded(const Exchange&, int32_t) const override { return nullptr; }
  void* send_buffer(int32_t slot) const override { return memory_.data() + 2 * slot * stride_; }
  const void* receive_buffer(int32_t slot) const override {
    return memory_.data() + (2 * slot + 1) * stride_;
  }
  void reduce(const Exchange& exchange, int32_t slot, cudaStream_t stream) override {
    void* sum = memory_.data() + (2 * slot + 1) * stride_;
    group_.all_reduce(exchange.dtype, exchange.count, send_buffer(slot), sum, stream);
  }

 private:
  int64_t stride_;
  DeviceMemory memory_;
  NcclGroup group_;
};

}  // namespace kraken::plugins
