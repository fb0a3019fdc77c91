// Stands in for plugins/kernels/multimem.cuh: the switch is a loop over the replicas, in an order that is not
// that of the ranks, as a switch's need not be.
#pragma once

#include "elements.cuh"
#include "shim_ptx.h"

namespace kraken::kernels {

template <typename T>
uint4 multimem_load_sum(const void* address) {
  constexpr int N = kPer16<T>;
  if (shim::barrier_without_fence) shim::lacks_fence();
  const std::vector<void*> replicas = shim::multicast_replicas(address);
  float sum[N] = {};
  for (size_t i = replicas.size(); i-- > 0;) {
    const Vector<T> part(*static_cast<const uint4*>(replicas[i]));
    for (int j = 0; j < N; ++j) sum[j] += to_float(part.element[j]);
  }
  Vector<T> rounded;
  for (int j = 0; j < N; ++j) rounded.element[j] = from_float<T>(sum[j]);
  return rounded.bits;
}

inline void multimem_store(void* address, uint4 value) {
  shim::multicast_store_without_fence = true;
  for (void* replica : shim::multicast_replicas(address)) *static_cast<uint4*>(replica) = value;
}

}  // namespace kraken::kernels
