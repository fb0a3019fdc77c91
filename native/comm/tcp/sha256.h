// SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104): what the handshake between hosts and the check of a
// rank's file need, without a dependency on a library of ciphers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace kraken {

using Sha256Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  void update(std::span<const uint8_t> bytes);
  Sha256Digest finish();

 private:
  static constexpr size_t kBlock = 64;
  void compress(const uint8_t* block);

  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, kBlock> pending_{};
  uint64_t bytes_ = 0;
};

Sha256Digest sha256(std::span<const uint8_t> bytes);
Sha256Digest hmac_sha256(std::span<const uint8_t> key, std::span<const uint8_t> message);

// In a time that does not depend on where they differ.
bool same_digest(const Sha256Digest& a, const Sha256Digest& b);

std::string to_hex(const Sha256Digest& digest);

}  // namespace kraken
