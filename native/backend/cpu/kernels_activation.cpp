// GELU in both spellings and SwiGLU. float32 to a few ulp; bfloat16 with a short exponential and the
// hardware's approximate reciprocal, whose errors are far below bfloat16's own rounding.
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/kernels_activation.cpp"
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

// x / (1 + 2^t), exact or approximate by the precision of T.
template <typename T>
HWY_INLINE VF divide_by_one_plus_exp2(VF x, VF t) {
  const DF df;
  const VF one = hn::Set(df, 1.0f);
  if constexpr (sizeof(T) == sizeof(float)) return hn::Div(x, hn::Add(one, exp2<6>(t)));
  return hn::Mul(x, hn::ApproximateReciprocal(hn::Add(one, exp2<3>(t))));
}

struct GeluTanh {
  // ½x(1 + tanh z) = x / (1 + e^(-2z)), z = √(2/π)(x + 0.044715x³)
  template <typename T>
  static HWY_INLINE VF apply(VF x) {
    const DF df;
    constexpr double kMinus2Log2E = -2.0 * 1.4426950408889634074, kRoot2OverPi = 0.79788456080286535588;
    const VF linear = hn::Set(df, static_cast<float>(kMinus2Log2E * kRoot2OverPi));
    const VF cubic = hn::Set(df, static_cast<float>(kMinus2Log2E * kRoot2OverPi * 0.044715));
    return divide_by_one_plus_exp2<T>(x, hn::Mul(x, hn::MulAdd(hn::Mul(x, x), cubic, linear)));
  }
};

struct GeluErf {
  // ½x(1 + erf(x/√2)). erf by two polynomials that meet at 0.9277: an odd one, and 1 - exp(r(t)). In the tail
  // of negative x, 1 + erf is exp(r) itself, so nothing cancels.
  template <typename T>
  static HWY_INLINE VF apply(VF x) {
    const DF df;
    const VF a = hn::Mul(x, hn::Set(df, 0.70710678118654752440f));
    const VF t = hn::Abs(a), s = hn::Mul(a, a);
    VF r = hn::MulAdd(hn::Set(df, -1.72853470e-5f), t, hn::Set(df, 3.83197126e-4f));
    const VF u = hn::MulAdd(hn::Set(df, -3.88396438e-3f), t, hn::Set(df, 2.42546219e-2f));
    r = hn::MulAdd(r, s, u);
    r = hn::MulAdd(r, t, hn::Set(df, -1.06777877e-1f));
    r = hn::MulAdd(r, t, hn::Set(df, -6.34846687e-1f));
    r = hn::MulAdd(r, t, hn::Set(df, -1.28717512e-1f));
    r = hn::Sub(hn::Mul(r, t), t);
    const VF tail = exp2 < sizeof(T) == sizeof(float)
                        ? 6
                        : 3 > (hn::Mul(r, hn::Set(df, 1.4426950408889634074f)));  // erfc(t)
    VF p = hn::Set(df, -5.96761703e-4f);
    p = hn::MulAdd(p, s, hn::Set(df, 4.99119423e-3f));
    p = hn::MulAdd(p, s, hn::Set(df, -2.67681349e-2f));
    p = hn::MulAdd(p, s, hn::Set(df, 1.12819925e-1f));
    p = hn::MulAdd(p, s, hn::Set(df, -3.76125336e-1f));
    p = hn::MulAdd(p, s, hn::Set(df, 1.28379166e-1f));
    p = hn::MulAdd(p, a, a);  // erf(a) near zero
    const VF one = hn::Set(df, 1.0f);
    const VF beyond = hn::IfThenElse(hn::Lt(a, hn::Zero(df)), tail, hn::Sub(hn::Set(df, 2.0f), tail));
    const VF twice_phi = hn::IfThenElse(hn::Lt(t, hn::Set(df, 0.927734375f)), hn::Add(one, p), beyond);
    return hn::Mul(hn::Mul(x, hn::Set(df, 0.5f)), twice_phi);
  }
};

template <typename Function, typename T>
void apply_in_place(T* x, int64_t count) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(DF()));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(Function::template apply<T>(load(x + i)), x + i);
  if (i < count) {
    const size_t rest = static_cast<size_t>(count - i);
    store_tail(Function::template apply<T>(load_tail(x + i, rest)), x + i, rest);
  }
}

template <typename T>
HWY_INLINE VF silu_times(VF gate, VF up) {
  const VF t = hn::Mul(gate, hn::Set(DF(), -1.4426950408889634074f));
  return hn::Mul(divide_by_one_plus_exp2<T>(gate, t), up);
}

template <typename T>
void swiglu_row(const T* gate, const T* up, T* out, int64_t count) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(DF()));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(silu_times<T>(load(gate + i), load(up + i)), out + i);
  if (i < count) {
    const size_t rest = static_cast<size_t>(count - i);
    store_tail(silu_times<T>(load_tail(gate + i, rest), load_tail(up + i, rest)), out + i, rest);
  }
}

void gelu_range(Activation kind, void* x, int64_t begin, int64_t end, DType dtype) {
  const auto run = [&](auto function) {
    using Function = decltype(function);
    if (dtype == DType::BFloat16) {
      apply_in_place<Function>(static_cast<uint16_t*>(x) + begin, end - begin);
    } else {
      apply_in_place<Function>(static_cast<float*>(x) + begin, end - begin);
    }
  };
  if (kind == Activation::GeluTanh) {
    run(GeluTanh());
  } else {
    run(GeluErf());
  }
}

void swiglu_rows(const void* x, void* out, int64_t begin, int64_t end, int64_t n, DType dtype) {
  const auto run = [&](auto* from, auto* to) {
    for (int64_t r = begin; r < end; ++r) {
      swiglu_row(from + 2 * r * n, from + (2 * r + 1) * n, to + r * n, n);
    }
  };
  if (dtype == DType::BFloat16) {
    run(static_cast<const uint16_t*>(x), static_cast<uint16_t*>(out));
  } else {
    run(static_cast<const float*>(x), static_cast<float*>(out));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/instruction_set.h"
#include "backend/cpu/kernels_avx512_bf16.h"
#include "backend/cpu/parallel.h"
#include "base/error.h"

namespace kraken::cpu {
namespace {

HWY_EXPORT(gelu_range);
HWY_EXPORT(swiglu_rows);

constexpr int64_t kWorkPerElement = 8;

// Null pointers where this machine (or its cap) has no AVX512_BF16.
const Bf16Kernels& bf16_kernels() {
  static const Bf16Kernels kernels =
      allowed_instruction_set() >= InstructionSet::Avx512Bf16 ? avx512_bf16_kernels() : Bf16Kernels{};
  return kernels;
}

}  // namespace

void gelu(Activation kind, void* x, int64_t rows, int64_t n, DType dtype) {
  cap_highway_targets();
  KRAKEN_CHECK(kind == Activation::GeluTanh || kind == Activation::GeluErf);
  KRAKEN_CHECK(dtype != DType::Float16);
  // Rows are dense, so they are one long row; threads part it at multiples of 64 elements.
  const int64_t count = rows * n, blocks = (count + 63) / 64;
  const bool own =
      kind == Activation::GeluTanh && dtype == DType::BFloat16 && bf16_kernels().gelu_tanh != nullptr;
  parallel_ranges(blocks, 64 * kWorkPerElement, [&](int64_t begin, int64_t end) {
    if (own) {
      return bf16_kernels().gelu_tanh(static_cast<uint16_t*>(x) + begin * 64,
                                      std::min(count, end * 64) - begin * 64);
    }
    HWY_DYNAMIC_DISPATCH(gelu_range)(kind, x, begin * 64, std::min(count, end * 64), dtype);
  });
}

void swiglu(const void* x, void* out, int64_t rows, int64_t n, DType dtype) {
  cap_highway_targets();
  KRAKEN_CHECK(dtype != DType::Float16);
  const bool own = dtype == DType::BFloat16 && bf16_kernels().swiglu != nullptr;
  parallel_ranges(rows, n * kWorkPerElement, [&](int64_t begin, int64_t end) {
    for (; own && begin < end; ++begin) {
      const auto* gate = static_cast<const uint16_t*>(x) + 2 * begin * n;
      bf16_kernels().swiglu(gate, gate + n, static_cast<uint16_t*>(out) + begin * n, n);
    }
    HWY_DYNAMIC_DISPATCH(swiglu_rows)(x, out, begin, end, n, dtype);
  });
}

}  // namespace kraken::cpu
#endif  // HWY_ONCE
