#include <algorithm>

#include "norm.cuh"
#include "norm.h"
#include "row_launch.h"

namespace kraken::kernels {
namespace {

template <Send kSend>
cudaError_t launch_norm(const NormSpec& spec, const void* x, const void* send, void* out, void* send_sum,
                        const PeerBuffers& peers, cudaStream_t stream) {
  return dispatch(spec.dtype, [&](auto element) {
    using T = decltype(element);
    return with_row_shape<T>(spec.width, [&](auto vectors, unsigned int threads) {
      constexpr int kVectors = decltype(vectors)::value;
      const auto ways = kSend == Send::Nothing ? static_cast<unsigned int>(spec.ways) : 1u;
      return launch(norm_kernel<T, kVectors, kSend>, dim3(static_cast<unsigned int>(spec.tokens), ways),
                    threads, stream, norm_arguments(spec), static_cast<const T*>(x),
                    static_cast<const T*>(send), static_cast<T*>(out), static_cast<T*>(send_sum), peers);
    });
  });
}

bool are_rows(const NormSpec& spec, const void* pointer) {
  return pointer != nullptr && is_aligned(pointer, size_of(spec.dtype));
}

PeerBuffers nobody() {
  PeerBuffers peers;
  peers.ranks = 0;
  return peers;
}

bool may_announce(const NormSpec& spec, const void* send_sum, const PeerBuffers* announce) {
  return announce == nullptr || (is_valid(*announce) && send_sum == announce->send[announce->rank] &&
                                 spec.tokens * spec.width * size_of(spec.dtype) <= announce->capacity);
}

}  // namespace

cudaError_t norm(const NormSpec& spec, const void* x, void* out, cudaStream_t stream) {
  if (!is_valid(spec)) return cudaErrorInvalidValue;
  if (spec.tokens == 0) return cudaSuccess;
  if (!are_rows(spec, x) || !are_rows(spec, out)) return cudaErrorInvalidValue;
  return launch_norm<Send::Nothing>(spec, x, nullptr, out, nullptr, nobody(), stream);
}

cudaError_t start_norm(const NormSpec& spec, const void* send, const void* x, void* out, void* send_sum,
                       cudaStream_t stream, const PeerBuffers* announce) {
  if (send_sum == nullptr) {
    return announce == nullptr ? norm(spec, x, out, stream) : cudaErrorInvalidValue;
  }
  if (!is_valid(spec) || !may_announce(spec, send_sum, announce)) return cudaErrorInvalidValue;
  if (spec.tokens == 0) return cudaSuccess;
  if (!are_rows(spec, send) || !are_rows(spec, x) || !are_rows(spec, out) || !are_rows(spec, send_sum)) {
    return cudaErrorInvalidValue;
  }
  const PeerBuffers peers = announce != nullptr ? *announce : nobody();
  return send == x ? launch_norm<Send::Input>(spec, x, send, out, send_sum, peers, stream)
                   : launch_norm<Send::Other>(spec, x, send, out, send_sum, peers, stream);
}

cudaError_t send_sum_of_ways(const NormSpec& spec, const void* send, void* send_sum, cudaStream_t stream,
                             const PeerBuffers* announce) {
  if (!is_valid(spec) || !may_announce(spec, send_sum, announce)) return cudaErrorInvalidValue;
  if (spec.tokens == 0) return cudaSuccess;
  if (!are_rows(spec, send) || !are_rows(spec, send_sum)) return cudaErrorInvalidValue;
  constexpr unsigned int kMostThreads = 512;
  const unsigned int threads = std::min(round_up(static_cast<unsigned int>(spec.width), 32), kMostThreads);
  return dispatch(spec.dtype, [&](auto element) {
    using T = decltype(element);
    return launch(sum_of_ways_kernel<T>, dim3(static_cast<unsigned int>(spec.tokens)), threads, stream,
                  spec.ways, spec.tokens, spec.width, static_cast<const T*>(send), static_cast<T*>(send_sum),
                  announce != nullptr ? *announce : nobody());
  });
}

}  // namespace kraken::kernels
