#include <algorithm>

#include "join_norm.cuh"
#include "join_norm.h"
#include "norm.h"
#include "row_launch.h"

namespace kraken::kernels {
namespace {

// Blocks that wait for peers must leave room for the peers' kernels where ranks share a GPU.
constexpr int64_t kMaxWaitingBlocks = 32;
constexpr unsigned int kAddThreads = 256;
constexpr int64_t kMaxAddBlocks = 4096;

bool are_rows(const NormSpec& spec, const void* pointer) {
  return pointer != nullptr && is_aligned(pointer, size_of(spec.dtype));
}

}  // namespace

cudaError_t join_norm(const NormSpec& spec, const void* a, const void* x, const void* sum, void* out,
                      cudaStream_t stream) {
  if (sum == nullptr) return norm(spec, a, out, stream);
  if (!is_valid(spec)) return cudaErrorInvalidValue;
  if (spec.tokens == 0) return cudaSuccess;
  if (!are_rows(spec, a) || !are_rows(spec, x) || !are_rows(spec, sum) || !are_rows(spec, out)) {
    return cudaErrorInvalidValue;
  }
  return dispatch(spec.dtype, [&](auto element) {
    using T = decltype(element);
    return with_row_shape<T>(spec.width, [&](auto vectors, unsigned int threads) {
      const dim3 grid(static_cast<unsigned int>(spec.tokens), static_cast<unsigned int>(spec.ways));
      return launch(join_norm_kernel<T, decltype(vectors)::value>, grid, threads, stream,
                    norm_arguments(spec), static_cast<const T*>(a), static_cast<const T*>(x),
                    static_cast<const T*>(sum), static_cast<T*>(out));
    });
  });
}

cudaError_t join_norm_peers(const NormSpec& spec, const void* a, const void* x, const PeerBuffers& peers,
                            void* out, cudaStream_t stream) {
  if (!is_valid(spec) || !is_valid(peers)) return cudaErrorInvalidValue;
  if (spec.tokens * spec.width * size_of(spec.dtype) > peers.capacity) return cudaErrorInvalidValue;
  if (spec.tokens == 0) return cudaSuccess;
  if (!are_rows(spec, a) || !are_rows(spec, x) || !are_rows(spec, out)) return cudaErrorInvalidValue;
  return dispatch(spec.dtype, [&](auto element) {
    using T = decltype(element);
    return with_row_shape<T>(spec.width, [&](auto vectors, unsigned int threads) {
      const dim3 grid(static_cast<unsigned int>(std::min(spec.tokens, kMaxWaitingBlocks)));
      return launch(join_norm_peers_kernel<T, decltype(vectors)::value>, grid, threads, stream,
                    norm_arguments(spec), static_cast<const T*>(a), static_cast<const T*>(x), peers,
                    static_cast<T*>(out));
    });
  });
}

cudaError_t join_add(DType dtype, int64_t count, const void* x, const void* sum, void* out,
                     cudaStream_t stream) {
  if (count < 0) return cudaErrorInvalidValue;
  if (count == 0) return cudaSuccess;
  const int64_t size = size_of(dtype);
  if (x == nullptr || out == nullptr || !is_aligned(x, size) || !is_aligned(sum, size) ||
      !is_aligned(out, size)) {
    return cudaErrorInvalidValue;
  }
  if (sum == nullptr) {
    if (out == x) return cudaSuccess;
    return cudaMemcpyAsync(out, x, static_cast<size_t>(count * size), cudaMemcpyDeviceToDevice, stream);
  }
  return dispatch(dtype, [&](auto element) {
    using T = decltype(element);
    const int64_t vectors = (count + kPer16<T> - 1) / kPer16<T> + 1;
    const int64_t blocks = std::min((vectors + kAddThreads - 1) / kAddThreads, kMaxAddBlocks);
    return launch(join_add_kernel<T>, dim3(static_cast<unsigned int>(blocks)), kAddThreads, stream, count,
                  static_cast<const T*>(x), static_cast<const T*>(sum), static_cast<T*>(out));
  });
}

}  // namespace kraken::kernels
