// float32 values as they travel, and back. What a rank sends is rounded once; everyone, the rank itself
// included, adds up the rounded values, so that all ranks compute the same bits.
#pragma once

#include <cstdint>
#include <span>

namespace kraken {

// Of one value.
enum class WireFormat : uint8_t { Float32 = 4, BFloat16 = 2 };
inline int64_t wire_bytes(WireFormat format, int64_t count) {
  return count * static_cast<int64_t>(format);
}

// out[i] = parts[0][i] + parts[1][i] + …, in this order.
void add_up(std::span<const float* const> parts, int64_t count, float* out);

// Rounds `values` to the format, to nearest: into `wire`, and in place.
void round_to_wire(WireFormat format, float* values, int64_t count, uint8_t* wire);

// Writes `count` values. `wire` need not be aligned.
void from_wire(WireFormat format, const uint8_t* wire, int64_t count, float* values);

}  // namespace kraken
