// Row movers: embedding look-up, row gathering, rotary positions, dtype conversion.
#include <cstdint>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/kernels_rows.cpp"
// The order matters.
// clang-format off
#include "backend/cpu/highway_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

template <typename From, typename To>
void convert_row(const From* from, To* to, int64_t count) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(DF()));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(load(from + i), to + i);
  if (i < count) {
    const size_t rest = static_cast<size_t>(count - i);
    store_tail(load_tail(from + i, rest), to + i, rest);
  }
}

template <typename T>
void add_rows(const T* a, const T* b, float* to, int64_t count) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(DF()));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(hn::Add(load(a + i), load(b + i)), to + i);
  if (i < count) {
    const size_t rest = static_cast<size_t>(count - i);
    store_tail(hn::Add(load_tail(a + i, rest), load_tail(b + i, rest)), to + i, rest);
  }
}

template <typename T>
void embed_rows(const int32_t* ids, const int32_t* positions, const T* table, const T* position_table,
                float* out, int64_t begin, int64_t end, int64_t width) {
  for (int64_t r = begin; r < end; ++r) {
    const T* token = table + ids[r] * width;
    if (position_table == nullptr) {
      convert_row(token, out + r * width, width);
    } else {
      add_rows(token, position_table + positions[r] * width, out + r * width, width);
    }
  }
}

void embed_any(const int32_t* ids, const int32_t* positions, const void* table, const void* position_table,
               float* out, int64_t begin, int64_t end, int64_t width, DType stored) {
  if (stored == DType::BFloat16) {
    embed_rows(ids, positions, static_cast<const uint16_t*>(table),
               static_cast<const uint16_t*>(position_table), out, begin, end, width);
  } else if (stored == DType::Float16) {
    embed_rows(ids, positions, static_cast<const Half*>(table), static_cast<const Half*>(position_table), out,
               begin, end, width);
  } else {
    embed_rows(ids, positions, static_cast<const float*>(table), static_cast<const float*>(position_table),
               out, begin, end, width);
  }
}

// One head. The pair (a, b) turns by its angle: (a·cos - b·sin, b·cos + a·sin).
template <typename T>
void rotate_halves(T* x, const float* cos, const float* sin, int64_t half) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(DF()));
  const auto turn = [](VF a, VF b, VF c, VF s, VF& turned_a, VF& turned_b) {
    turned_a = hn::NegMulAdd(b, s, hn::Mul(a, c));
    turned_b = hn::MulAdd(a, s, hn::Mul(b, c));
  };
  VF a, b;
  int64_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    turn(load(x + i), load(x + half + i), load(cos + i), load(sin + i), a, b);
    store(a, x + i);
    store(b, x + half + i);
  }
  if (i < half) {
    const size_t rest = static_cast<size_t>(half - i);
    turn(load_tail(x + i, rest), load_tail(x + half + i, rest), load_tail(cos + i, rest),
         load_tail(sin + i, rest), a, b);
    store_tail(a, x + i, rest);
    store_tail(b, x + half + i, rest);
  }
}

HWY_INLINE float to_float(float v) {
  return v;
}
HWY_INLINE float to_float(uint16_t v) {
  return bfloat16_to_float(v);
}
HWY_INLINE void from_float(float v, float* to) {
  *to = v;
}
HWY_INLINE void from_float(float v, uint16_t* to) {
  *to = float_to_bfloat16(v);
}

template <typename T>
void rotate_neighbours(T* x, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = to_float(x[2 * i]), b = to_float(x[2 * i + 1]);
    from_float(a * cos[i] - b * sin[i], x + 2 * i);
    from_float(b * cos[i] + a * sin[i], x + 2 * i + 1);
  }
}

template <typename T>
void rotate_rows(T* x, const int32_t* positions, const float* cos, const float* sin, int64_t begin,
                 int64_t end, int64_t row_width, int heads, int head_dim, int64_t half, bool interleaved) {
  for (int64_t r = begin; r < end; ++r) {
    const float* c = cos + positions[r] * half;
    const float* s = sin + positions[r] * half;
    for (int h = 0; h < heads; ++h) {
      T* head = x + r * row_width + static_cast<int64_t>(h) * head_dim;
      if (interleaved) {
        rotate_neighbours(head, c, s, half);
      } else {
        rotate_halves(head, c, s, half);
      }
    }
  }
}

void rotate_any(void* x, const int32_t* positions, const float* cos, const float* sin, int64_t begin,
                int64_t end, int64_t row_width, int heads, int head_dim, int64_t half, bool interleaved,
                DType dtype) {
  if (dtype == DType::BFloat16) {
    rotate_rows(static_cast<uint16_t*>(x), positions, cos, sin, begin, end, row_width, heads, head_dim, half,
                interleaved);
  } else {
    rotate_rows(static_cast<float*>(x), positions, cos, sin, begin, end, row_width, heads, head_dim, half,
                interleaved);
  }
}

void widen_range(const uint16_t* from, float* to, int64_t count) {
  convert_row(from, to, count);
}
void round_range(const float* from, uint16_t* to, int64_t count) {
  convert_row(from, to, count);
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

HWY_EXPORT(embed_any);
HWY_EXPORT(rotate_any);
HWY_EXPORT(widen_range);
HWY_EXPORT(round_range);

}  // namespace

void embed(const int32_t* ids, const int32_t* positions, const void* table, const void* position_table,
           float* out, int64_t rows, int64_t width, DType stored) {
  cap_highway_targets();
  KRAKEN_CHECK(stored != DType::Int8);
  parallel_ranges(rows, width, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(embed_any)(ids, positions, table, position_table, out, begin, end, width, stored);
  });
}

void gather_rows(const void* x, const int32_t* index, void* out, int64_t rows, int64_t row_bytes) {
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(static_cast<char*>(out) + r * row_bytes, static_cast<const char*>(x) + index[r] * row_bytes,
                static_cast<size_t>(row_bytes));
  }
}

void rotate(void* x, const int32_t* positions, const float* cos, const float* sin, int64_t rows,
            int64_t row_width, int heads, int head_dim, int dims, bool interleaved, DType dtype) {
  cap_highway_targets();
  KRAKEN_CHECK(dtype != DType::Float16 && dims % 2 == 0 && dims <= head_dim);
  parallel_ranges(rows, static_cast<int64_t>(heads) * dims * 2, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(rotate_any)
    (x, positions, cos, sin, begin, end, row_width, heads, head_dim, dims / 2, interleaved, dtype);
  });
}

void convert(const void* from, DType from_dtype, void* to, DType to_dtype, int64_t n) {
  cap_highway_targets();
  KRAKEN_CHECK(from_dtype == to_dtype || (from_dtype != DType::Float16 && to_dtype != DType::Float16));
  if (from_dtype == to_dtype) {
    std::memcpy(to, from, static_cast<size_t>(n) * size_of(to_dtype));
    return;
  }
  // Threads part the elements at multiples of 64.
  const int64_t blocks = (n + 63) / 64;
  parallel_ranges(blocks, 64, [&](int64_t block_begin, int64_t block_end) {
    const int64_t begin = block_begin * 64, end = std::min(n, block_end * 64);
    if (from_dtype == DType::BFloat16) {
      HWY_DYNAMIC_DISPATCH(widen_range)
      (static_cast<const uint16_t*>(from) + begin, static_cast<float*>(to) + begin, end - begin);
    } else {
      HWY_DYNAMIC_DISPATCH(round_range)
      (static_cast<const float*>(from) + begin, static_cast<uint16_t*>(to) + begin, end - begin);
    }
  });
}

}  // namespace kraken::cpu
#endif  // HWY_ONCE
