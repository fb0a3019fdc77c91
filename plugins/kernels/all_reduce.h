// All-reduce over peer memory. Sums are accumulated in float32 in the order of ranks and rounded once, so
// every rank gets the same bits, whichever of one-shot and two-shot runs; multimem sums inside the switch, in
// an order of its own, but each element once for all ranks, so there too all ranks get the same bits.
//
//   one-shot   every rank reads all send buffers: one barrier, ranks × bytes over each link. Small messages.
//   two-shot   a rank reduces its share and writes it to all receive buffers: two barriers, 2 × bytes.
//   multimem   as two-shot, but the switch adds up and distributes: bytes over each link. sm_90 and
//   multicast.
//
// A peer that does not come within peers.timeout_ns ends the kernel: *peers.error becomes 1 + its rank, the
// output is undefined, and later collectives of the group return at once.
#pragma once

#include "peer_buffers.h"
#include "types.h"

namespace kraken::kernels {

enum class AllReduceAlgorithm : int32_t { OneShot, TwoShot, Multimem };

struct AllReduceSpec {
  AllReduceAlgorithm algorithm = AllReduceAlgorithm::OneShot;
  DType dtype = DType::Float32;
  int64_t count = 0;            // elements
  int32_t blocks = 8;           // 1 to kMaxBlocks: the SMs it may take from what runs beside it
  const void* input = nullptr;  // any memory of this rank's; null: the send buffer holds it already
  void* output = nullptr;       // any memory of this rank's; null: the receive buffer. May be input.
  // When the kernel ends, every rank has read this rank's send buffer, so it may be written again. False
  // saves one-shot its second barrier, where the next collective or start_norm uses another send buffer.
  bool frees_send = true;
};

// When the kernel ends, the sum lies in spec.output. Peers write into the receive buffer as soon as this rank
// starts its next all-reduce with that buffer, so what reads it must come before, on the same stream or by an
// event.
// cudaErrorNotSupported: multimem where the device is older than sm_90 or peers have no multicast addresses.
cudaError_t all_reduce(const AllReduceSpec& spec, const PeerBuffers& peers, cudaStream_t stream);

// Only a barrier among the ranks: after it, whatever they did before it has happened.
cudaError_t barrier(const PeerBuffers& peers, cudaStream_t stream);

}  // namespace kraken::kernels
