#include "comm/tcp/wire_values.h"

#include <algorithm>
#include <bit>
#include <cstring>

// One version for each vector width, as in runtime/vector_math.cpp: bytes are moved on the cores that
// compute.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KRAKEN_EVERY_WIDTH __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KRAKEN_EVERY_WIDTH
#endif

namespace kraken {
namespace {

constexpr int64_t kBlock = 2048;  // floats; a block stays in the first-level cache from one part to the next

KRAKEN_EVERY_WIDTH void add_to(const float* __restrict from, int64_t count, float* __restrict to) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

// Branch-free float_to_bfloat16(), so that it vectorises.
KRAKEN_EVERY_WIDTH void round_to_bfloat16(float* __restrict values, int64_t count,
                                          uint16_t* __restrict wire) {
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(values[i]);
    const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    const uint32_t quiet = bits | 0x400000u;
    const uint32_t nan = -static_cast<uint32_t>((bits & 0x7fffffffu) > 0x7f800000u);  // all bits or none
    const uint32_t kept = (rounded & ~nan) | (quiet & nan);
    wire[i] = static_cast<uint16_t>(kept >> 16);
    values[i] = std::bit_cast<float>(kept & 0xffff0000u);
  }
}

KRAKEN_EVERY_WIDTH void from_bfloat16(const uint8_t* __restrict wire, int64_t count,
                                      float* __restrict values) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, wire + 2 * i, sizeof bits);
    values[i] = std::bit_cast<float>(uint32_t{bits} << 16);
  }
}

}  // namespace

void add_up(std::span<const float* const> parts, int64_t count, float* out) {
  for (int64_t from = 0; from < count; from += kBlock) {
    const int64_t length = std::min(kBlock, count - from);
    std::memcpy(out + from, parts[0] + from, static_cast<size_t>(length) * sizeof(float));
    for (const float* part : parts.subspan(1)) add_to(part + from, length, out + from);
  }
}

void round_to_wire(WireFormat format, float* values, int64_t count, uint8_t* wire) {
  if (format == WireFormat::BFloat16) {
    round_to_bfloat16(values, count, reinterpret_cast<uint16_t*>(wire));
  } else if (count > 0) {
    std::memcpy(wire, values, static_cast<size_t>(count) * sizeof(float));
  }
}

void from_wire(WireFormat format, const uint8_t* wire, int64_t count, float* values) {
  if (format == WireFormat::BFloat16) {
    from_bfloat16(wire, count, values);
  } else if (count > 0) {
    std::memcpy(values, wire, static_cast<size_t>(count) * sizeof(float));
  }
}

}  // namespace kraken
