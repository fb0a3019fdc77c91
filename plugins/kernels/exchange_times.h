// When exchanges start, arrive and are waited for, by the device's own clock: kernels of one thread between
// the others, which a captured graph replays with the rest. Only where somebody asks for times.
#pragma once

#include "types.h"

namespace kraken::kernels {

// Nanoseconds, and how many exchanges they are of. Host-visible; kernels of the main stream alone write it.
struct ExchangeTimes {
  uint64_t exposed = 0;     // the main stream stood still for a sum
  uint64_t collective = 0;  // from a sum's start to its arrival
  uint64_t hidden = 0;      // of these, while the main stream did something else
  uint64_t exchanges = 0;
};

// Of one exchange, in device memory.
struct ExchangeMoments {
  uint64_t started, arrived, joined;  // joined: the main stream came to where it needs the sum
};

// *moment := now.
cudaError_t stamp(uint64_t* moment, cudaStream_t stream);
// Adds an exchange that has arrived; of a blocking one `joined` is its start.
cudaError_t account(const ExchangeMoments* moments, bool is_blocking, ExchangeTimes* times,
                    cudaStream_t stream);

}  // namespace kraken::kernels
