// Which communicator the plugins of an execution context get: the one bound to the thread that creates it. A
// key for the whole process would mix up ranks that are threads, and engines that share a process.
#pragma once

#include <cstdint>

#include "communicator/communicator.h"

namespace kraken::plugins {

void bind_communicator(DeviceCommunicator* communicator);
// How many plugins took it since it was bound.
int32_t unbind_communicator();
// The bound one, or null: the plugin works alone.
DeviceCommunicator* take_bound_communicator();

}  // namespace kraken::plugins
