// The other end of an exchange: what waits for its sum S takes it in, and normalises in the same pass.
#pragma once

#include "peer_buffers.h"
#include "types.h"

namespace kraken::kernels {

// out = Norm(a + (S − x)); a, x, out [W,T,d], sum S [T,d]. sum null (not bound to a communicator): Norm(a).
// out may be a or x.
cudaError_t join_norm(const NormSpec& spec, const void* a, const void* x, const void* sum, void* out,
                      cudaStream_t stream);

// The same with the all-reduce folded in: waits until every peer has announced its send buffer (start_norm),
// and adds them up in the order of ranks while it reads them. S is rounded to the dtype, so it is to the bit
// what an all-reduce makes it. Nothing of this exchange runs beside the attention: for sums so small that a
// kernel of their own costs more than the transfer.
//
// A send buffer may be written again by the start of the exchange after the next (two buffers in turn, four
// where two exchanges are in flight: native/comm/communicator.h), and at once after any other collective.
cudaError_t join_norm_peers(const NormSpec& spec, const void* a, const void* x, const PeerBuffers& peers,
                            void* out, cudaStream_t stream);

// out = x + S, `count` elements each. sum null: a copy of x. out may be x.
cudaError_t join_add(DType dtype, int64_t count, const void* x, const void* sum, void* out,
                     cudaStream_t stream);

}  // namespace kraken::kernels
