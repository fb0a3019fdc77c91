// Rows of activations to int8, one row at a time: its second reading finds it in the first-level cache.
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/kernels_quantise.cpp"
// The order matters.
// clang-format off
#include "backend/cpu/highway_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/quantise-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

void quantise_range(const void* x, DType dtype, uint8_t* out, int64_t begin, int64_t end, int64_t width) {
  const int64_t pitch = quantised_row_bytes(width);
  for (int64_t r = begin; r < end; ++r) {
    if (dtype == DType::BFloat16) {
      quantise_row(static_cast<const uint16_t*>(x) + r * width, width, out + r * pitch);
    } else {
      quantise_row(static_cast<const float*>(x) + r * width, width, out + r * pitch);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/instruction_set.h"
#include "backend/cpu/parallel.h"
#include "base/error.h"

namespace kraken::cpu {
namespace {

HWY_EXPORT(quantise_range);

}  // namespace

void quantise_rows(const void* x, DType dtype, void* out, int64_t rows, int64_t width) {
  cap_highway_targets();
  KRAKEN_CHECK(dtype == DType::Float32 || dtype == DType::BFloat16);
  parallel_ranges(rows, 2 * width, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(quantise_range)(x, dtype, static_cast<uint8_t*>(out), begin, end, width);
  });
}

}  // namespace kraken::cpu
#endif  // HWY_ONCE
