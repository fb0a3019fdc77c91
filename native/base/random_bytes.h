// Bytes that nobody can guess: nonces, secrets, names. From the kernel, not from std::random_device: linked
// statically, that asks for a glibc newer than prebuilt binaries may.
#pragma once

#include <cstdint>
#include <span>

namespace kraken {

// At most 256 bytes. Throws ERR_IO.
void fill_with_random(std::span<uint8_t> bytes);

}  // namespace kraken
