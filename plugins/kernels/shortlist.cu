#include "launch.h"
#include "shortlist.cuh"
#include "shortlist.h"

namespace kraken::kernels {
namespace {

constexpr int32_t kMaxColumns = 1 << 23;

bool is_valid(const float* logits, int32_t rows, int32_t columns) {
  return rows >= 0 && columns >= 1 && columns <= kMaxColumns && (rows == 0 || logits != nullptr);
}

}  // namespace

cudaError_t row_maxima(const float* logits, int32_t rows, int32_t columns, int32_t rank, int32_t ranks,
                       float* maxima, cudaStream_t stream) {
  if (!is_valid(logits, rows, columns) || rank < 0 || rank >= ranks) return cudaErrorInvalidValue;
  if (rows == 0) return cudaSuccess;
  if (maxima == nullptr) return cudaErrorInvalidValue;
  return launch(row_maxima_kernel, dim3(static_cast<unsigned int>(rows)), kShortlistThreads, stream, logits,
                columns, rank, ranks, maxima);
}

cudaError_t shortlist(const float* logits, int32_t rows, int32_t columns, const ShortlistRequest* requests,
                      const float* maxima, int32_t ranks, int32_t capacity, void* out, cudaStream_t stream) {
  if (!is_valid(logits, rows, columns) || capacity < 1 || ranks < 1) return cudaErrorInvalidValue;
  if (rows == 0) return cudaSuccess;
  if (requests == nullptr || out == nullptr || !is_aligned(out, alignof(ShortlistHead)))
    return cudaErrorInvalidValue;
  return launch(shortlist_kernel, dim3(static_cast<unsigned int>(rows)), kShortlistThreads, stream, logits,
                columns, requests, maxima, ranks, capacity, static_cast<char*>(out),
                shortlist_bytes(capacity));
}

}  // namespace kraken::kernels
