// float32 values as they travel, and back. What a rank sends is rounded once; everyone, the rank itself
// included, adds up the rounded values, so that all ranks compute the same bits.
#pragma once

#include <cstdint>
#include <span>

namespace kraken {

// Bytes of one value.
enum class WireFormat : uint8_t { Float32 = 4, BFloat16 = 2 };
inline int64_t wire_bytes(WireFormat format, int64_t count) {
  return count * static_cast<int64_t>(format);
}

// wire[i] = parts[0][i] + parts[1][i] + …, in this order, rounded to nearest.
void add_to_wire(WireFormat format, std::span<const float* const> parts, int64_t count, uint8_t* wire);

// out[i] = wires[0][i] + wires[1][i] + …, in this order. Where `rounded` is given, the sum is rounded to
// nearest, into both.
void add_from_wires(WireFormat format, std::span<const uint8_t* const> wires, int64_t count, float* out,
                    uint8_t* rounded = nullptr);

}  // namespace kraken
