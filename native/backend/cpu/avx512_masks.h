// Masks of the first elements, for translation units compiled for AVX-512.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace kraken::cpu {
namespace {

inline __mmask32 first_halves(int count) {
  if (count <= 0) return 0;
  return count >= 32 ? ~__mmask32{0} : static_cast<__mmask32>((uint32_t{1} << count) - 1);
}

inline __mmask16 first_lanes(int count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : (1 << count) - 1);
}

}  // namespace
}  // namespace kraken::cpu
