// What tells processes and devices apart across the ranks of a group, whatever namespaces their ids live in.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>
#include <random>

#include "common/error.h"

namespace kraken::plugins {

inline uint64_t process_identity() {
  static const uint64_t identity = [] {
    std::random_device random;
    return (uint64_t{random()} << 32) | random();
  }();
  return identity;
}

// The current device: of which machine, and where on its bus.
struct DeviceIdentity {
  char machine[40] = {}, bus[20] = {};

  static DeviceIdentity current() {
    DeviceIdentity identity;
    if (std::FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "r")) {
      if (std::fgets(identity.machine, sizeof identity.machine, file) == nullptr) identity.machine[0] = 0;
      std::fclose(file);
    }
    int device = 0;
    check_cuda(cudaGetDevice(&device), "asking for the current device");
    check_cuda(cudaDeviceGetPCIBusId(identity.bus, sizeof identity.bus, device),
               "asking where the device is");
    return identity;
  }
};

}  // namespace kraken::plugins
