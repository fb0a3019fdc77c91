#include "comm/framed/wire_values.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/every_width.h"  // bytes are moved on the cores that compute

namespace kraken {
namespace {

constexpr int64_t kBlock = 2048;  // floats; a block stays in the first-level cache from one part to the next

KRAKEN_EVERY_WIDTH void add_to(const float* __restrict from, int64_t count, float* __restrict to) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

// Branch-free float_to_bfloat16(), so that it vectorises.
inline uint32_t rounded_bits(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const uint32_t quiet = bits | 0x400000u;
  const uint32_t nan = -static_cast<uint32_t>((bits & 0x7fffffffu) > 0x7f800000u);  // all bits or none
  return ((rounded & ~nan) | (quiet & nan)) & 0xffff0000u;
}

KRAKEN_EVERY_WIDTH void to_bfloat16(const float* __restrict values, int64_t count,
                                    uint16_t* __restrict wire) {
  for (int64_t i = 0; i < count; ++i) wire[i] = static_cast<uint16_t>(rounded_bits(values[i]) >> 16);
}

KRAKEN_EVERY_WIDTH void from_bfloat16(const uint16_t* __restrict wire, int64_t count,
                                      float* __restrict values) {
  for (int64_t i = 0; i < count; ++i) values[i] = std::bit_cast<float>(uint32_t{wire[i]} << 16);
}

KRAKEN_EVERY_WIDTH void add_bfloat16(const uint16_t* __restrict wire, int64_t count,
                                     float* __restrict values) {
  for (int64_t i = 0; i < count; ++i) values[i] += std::bit_cast<float>(uint32_t{wire[i]} << 16);
}

// Buffers of the wire are vectors' beginnings and shares of whole values: aligned.
const uint16_t* bfloat16s(const uint8_t* wire) {
  return reinterpret_cast<const uint16_t*>(wire);
}

void copy(const float* from, int64_t count, float* to) {
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

}  // namespace

void add_to_wire(WireFormat format, std::span<const float* const> parts, int64_t count, uint8_t* wire) {
  float block[kBlock];
  for (int64_t from = 0; from < count; from += kBlock) {
    const int64_t length = std::min(kBlock, count - from);
    const bool whole = format == WireFormat::Float32;
    const float* total = parts[0] + from;
    if (whole || parts.size() > 1) {
      float* sum = whole ? reinterpret_cast<float*>(wire) + from : block;
      copy(total, length, sum);
      for (const float* part : parts.subspan(1)) add_to(part + from, length, sum);
      total = sum;
    }
    if (!whole) to_bfloat16(total, length, reinterpret_cast<uint16_t*>(wire) + from);
  }
}

void add_from_wires(WireFormat format, std::span<const uint8_t* const> wires, int64_t count, float* out,
                    uint8_t* rounded) {
  for (int64_t from = 0; from < count; from += kBlock) {
    const int64_t length = std::min(kBlock, count - from);
    float* sum = out + from;
    if (format == WireFormat::Float32) {
      copy(reinterpret_cast<const float*>(wires[0]) + from, length, sum);
      for (const uint8_t* wire : wires.subspan(1)) {
        add_to(reinterpret_cast<const float*>(wire) + from, length, sum);
      }
      if (rounded != nullptr) copy(sum, length, reinterpret_cast<float*>(rounded) + from);
      continue;
    }
    from_bfloat16(bfloat16s(wires[0]) + from, length, sum);
    for (const uint8_t* wire : wires.subspan(1)) add_bfloat16(bfloat16s(wire) + from, length, sum);
    if (rounded == nullptr) continue;
    to_bfloat16(sum, length, reinterpret_cast<uint16_t*>(rounded) + from);
    from_bfloat16(bfloat16s(rounded) + from, length, sum);
  }
}

}  // namespace kraken
