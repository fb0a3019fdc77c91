#include "exchange_times.h"
#include "launch.h"
#include "ptx.cuh"

namespace kraken::kernels {
namespace {

__global__ void stamp_kernel(uint64_t* moment) {
  *moment = nanoseconds();
}

__global__ void account_kernel(const ExchangeMoments* moments, bool is_blocking, ExchangeTimes* times) {
  const uint64_t joined = is_blocking ? moments->started : moments->joined;
  const uint64_t waited = moments->arrived > joined ? moments->arrived - joined : 0;
  // Waited for before the side stream had come to it: then the wait is all of it.
  const uint64_t started = moments->started < joined ? moments->started : joined;
  const uint64_t took = moments->arrived - started;
  times->exposed += waited;
  times->collective += took;
  times->hidden += took > waited ? took - waited : 0;
  ++times->exchanges;
}

}  // namespace

cudaError_t stamp(uint64_t* moment, cudaStream_t stream) {
  if (moment == nullptr) return cudaErrorInvalidValue;
  return launch(stamp_kernel, dim3(1), 1, stream, moment);
}

cudaError_t account(const ExchangeMoments* moments, bool is_blocking, ExchangeTimes* times,
                    cudaStream_t stream) {
  if (moments == nullptr || times == nullptr) return cudaErrorInvalidValue;
  return launch(account_kernel, dim3(1), 1, stream, moments, is_blocking, times);
}

}  // namespace kraken::kernels
