// Tells processes apart, whatever namespaces their ids live in.
#pragma once

#include <cstdint>
#include <random>

namespace kraken::plugins {

inline uint64_t process_identity() {
  static const uint64_t identity = [] {
    std::random_device random;
    return (uint64_t{random()} << 32) | random();
  }();
  return identity;
}

}  // namespace kraken::plugins
