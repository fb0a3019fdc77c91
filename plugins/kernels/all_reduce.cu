#include <algorithm>

#include "all_reduce.cuh"
#include "all_reduce.h"
#include "launch.h"

namespace kraken::kernels {
namespace {

bool has_multimem() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major >= 9;
}

}  // namespace

cudaError_t all_reduce(const AllReduceSpec& spec, const PeerBuffers& peers, cudaStream_t stream) {
  const bool writes_receive = spec.algorithm != AllReduceAlgorithm::OneShot;
  if (!is_valid(peers) || spec.count < 0 || spec.blocks < 1 || spec.blocks > kMaxBlocks ||
      spec.count > peers.capacity / size_of(spec.dtype) || !is_aligned(spec.input, size_of(spec.dtype)) ||
      !is_aligned(spec.output, size_of(spec.dtype))) {
    return cudaErrorInvalidValue;
  }
  for (int32_t rank = 0; rank < peers.ranks; ++rank) {
    if (peers.receive[rank] == nullptr && writes_receive) return cudaErrorInvalidValue;
  }
  if (spec.algorithm == AllReduceAlgorithm::Multimem &&
      (peers.multicast_send == nullptr || peers.multicast_receive == nullptr || !has_multimem())) {
    return cudaErrorNotSupported;
  }
  const AllReduceArguments arguments{spec.count, spec.input,
                                     spec.output != nullptr ? spec.output : peers.receive[peers.rank],
                                     spec.frees_send};
  if (arguments.output == nullptr) return cudaErrorInvalidValue;
  if (spec.count == 0) return cudaSuccess;
  return dispatch(spec.dtype, [&](auto element) {
    using T = decltype(element);
    // The same on every rank, as the barriers of blocks need it.
    const int64_t vectors = (spec.count + kPer16<T> - 1) / kPer16<T>;
    const int64_t shares = writes_receive ? peers.ranks : 1;
    const int64_t each = (vectors + shares * spec.blocks - 1) / (shares * spec.blocks);
    const auto threads =
        round_up(static_cast<unsigned int>(std::min<int64_t>(each, kMaxAllReduceThreads)), 32);
    auto* kernel = one_shot_kernel<T>;
    if (spec.algorithm == AllReduceAlgorithm::TwoShot) kernel = two_shot_kernel<T>;
    if (spec.algorithm == AllReduceAlgorithm::Multimem) kernel = multimem_kernel<T>;
    return launch(kernel, dim3(static_cast<unsigned int>(spec.blocks)), threads, stream, arguments, peers);
  });
}

cudaError_t barrier(const PeerBuffers& peers, cudaStream_t stream) {
  if (!is_valid(peers)) return cudaErrorInvalidValue;
  return launch(barrier_kernel, dim3(1), 32, stream, peers);
}

}  // namespace kraken::kernels
