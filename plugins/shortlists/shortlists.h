// Shortlists of all ranks' columns. The largest logit of a row is the only thing that ranks tell each other:
// its exchange is a sum in which each rank fills a place of its own.
#pragma once

#include <cuda_runtime_api.h>

#include "communicator/communicator.h"
#include "kraken_plugins.h"

namespace kraken::plugins {

// Throws PluginError.
void enqueue_shortlists(DeviceCommunicator& communicator, int32_t rank, int32_t ranks,
                        const kraken_shortlists& shortlists, cudaStream_t stream);

}  // namespace kraken::plugins
