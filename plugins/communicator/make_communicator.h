// Chooses and makes a rank's communicator.
#pragma once

#include <memory>

#include "communicator/communicator.h"
#include "kraken_plugins.h"

namespace kraken::plugins {

// Throws PluginError: a wrong option, no device, no way for the ranks to reach each other. All ranks at once.
std::unique_ptr<DeviceCommunicator> make_communicator(const kraken_communicator_options& options);

}  // namespace kraken::plugins
