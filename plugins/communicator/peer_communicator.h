// Exchanges over peer memory: the kernels of all_reduce.h on the side stream, or none at all where the join
// reads the peers' parts itself. What runs at which size is the table's choice (kernels/algorithm.h), and
// NCCL's part if it says so.
#pragma once

#include <array>
#include <memory>

#include "communicator/nccl_group.h"
#include "communicator/overlapped_communicator.h"
#include "communicator/peer_memory.h"
#include "kernels/algorithm.h"

namespace kraken::plugins {

class PeerCommunicator : public OverlappedCommunicator {
 public:
  // `memory` must be complete and of make_memory(); `nccl` null: peer memory does it all.
  PeerCommunicator(std::unique_ptr<PeerMemory> memory, std::unique_ptr<NcclGroup> nccl,
                   kernels::AlgorithmTable table, int64_t capacity, uint64_t timeout_nanoseconds,
                   Stalls stalls);

  // Multicast memory where it can be had and a rule of the table is for it. All ranks at once.
  static std::unique_ptr<PeerMemory> make_memory(const Rendezvous& rendezvous, int64_t capacity,
                                                 const kernels::AlgorithmTable& table);

  void time_exchanges() override;
  void abort(int32_t lost_rank) noexcept override;
  std::string failure() const override;
  std::string transport() const override;

 protected:
  const kernels::PeerBuffers* folded(const Exchange& exchange, int32_t slot) const override;
  void* send_buffer(int32_t slot) const override;
  const void* receive_buffer(int32_t slot) const override;
  void reduce(const Exchange& exchange, int32_t slot, cudaStream_t stream) override;
  void reduce_now(kernels::DType dtype, int64_t count, const void* in, void* out,
                  cudaStream_t stream) override;

 private:
  kernels::Choice choose(int64_t bytes, bool joined_by_norm) const;

  std::unique_ptr<PeerMemory> memory_;
  std::unique_ptr<NcclGroup> nccl_;
  kernels::AlgorithmTable table_;
  ErrorWord error_;
  int32_t sm_ = 0;
  // The same buffers with flags of each stream, as their kernels may run side by side.
  std::array<kernels::PeerBuffers, kSlots> side_, main_;
  kernels::PeerBuffers blocking_;
};

}  // namespace kraken::plugins
