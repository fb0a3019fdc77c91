// Norm, and Norm that starts an exchange: one pass over memory each.
#pragma once

#include "peer_buffers.h"
#include "types.h"

namespace kraken::kernels {

// out = Norm(x), x and out [W,T,d]. out may be x.
cudaError_t norm(const NormSpec& spec, const void* x, void* out, cudaStream_t stream);

// out = Norm(x), and send_sum[T,d] = the sum over this rank's ways of send[W,T,d], accumulated in float32 in
// the order of the ways. Usually send is x, which is then read once. send_sum is this rank's send buffer;
// null (a plugin that is not bound to a communicator) normalises only.
//
// announce: tells the peers, when all of send_sum is written, that it may be read: for an exchange that
// join_norm_peers ends. send_sum must then be announce->send[announce->rank]. Null where an all-reduce
// follows.
cudaError_t start_norm(const NormSpec& spec, const void* send, const void* x, void* out, void* send_sum,
                       cudaStream_t stream, const PeerBuffers* announce = nullptr);

// The sending half of start_norm alone, where what is sent has other rows than what is normalised (a last
// layer sends only the rows whose logits are wanted). spec.tokens are those of send; its norm is not used.
cudaError_t send_sum_of_ways(const NormSpec& spec, const void* send, void* send_sum, cudaStream_t stream,
                             const PeerBuffers* announce = nullptr);

}  // namespace kraken::kernels
