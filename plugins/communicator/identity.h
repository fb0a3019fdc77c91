// What tells processes and devices apart across the ranks of a group, whatever namespaces their ids live in.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
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

// The machine, until it starts again.
struct MachineIdentity {
  char boot[40] = {};

  static MachineIdentity current() {
    MachineIdentity identity;
    if (std::FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "r")) {
      if (std::fgets(identity.boot, sizeof identity.boot, file) == nullptr) identity.boot[0] = 0;
      std::fclose(file);
    }
    return identity;
  }
  bool operator==(const MachineIdentity& other) const {
    return std::memcmp(boot, other.boot, sizeof boot) == 0;
  }
};

// The current device: of which machine, and where on its bus.
struct DeviceIdentity {
  MachineIdentity machine;
  char bus[20] = {};

  static DeviceIdentity current() {
    DeviceIdentity identity{MachineIdentity::current()};
    int device = 0;
    check_cuda(cudaGetDevice(&device), "asking for the current device");
    check_cuda(cudaDeviceGetPCIBusId(identity.bus, sizeof identity.bus, device),
               "asking where the device is");
    return identity;
  }
};

}  // namespace kraken::plugins
