// The norm pass: residual adds, the join with the other ways' streams, and LayerNorm or RMSNorm, reading
// every input once and writing every output once. Between its two sweeps a row waits in the first-level
// cache.
#include <cmath>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/kernels_norm.cpp"
// The order matters.
// clang-format off
#include "backend/cpu/highway_targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/simd-inl.h"
#include "backend/cpu/quantise-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace kraken::cpu {
namespace HWY_NAMESPACE {

// pass.join without join_self, so that x never enters the sum only to leave it again; `subtract` is join_self
// when it was none of the parts (a sum received as a whole).
struct JoinPlan {
  Addends parts;
  const float* subtract;
};

template <typename Load>
HWY_INLINE VF combined(const NormPass& pass, const JoinPlan& join, int64_t at, VF base, float* sum,
                       const Load& get, size_t lanes, bool whole) {
  VF v = base;
  for (const float* addend : pass.addends.float32) v = hn::Add(v, get(addend + at));
  for (const uint16_t* addend : pass.addends.bfloat16) v = hn::Add(v, get(addend + at));
  if (sum != nullptr) {
    if (whole) {
      store(v, sum + at);
    } else {
      store_tail(v, sum + at, lanes);
    }
  }
  if (join.parts.count() != 0) {
    const auto floats = join.parts.float32;
    const auto halves = join.parts.bfloat16;
    VF others = floats.empty() ? get(halves[0] + at) : get(floats[0] + at);
    for (size_t i = 1; i < floats.size(); ++i) others = hn::Add(others, get(floats[i] + at));
    for (size_t i = floats.empty() ? 1 : 0; i < halves.size(); ++i) {
      others = hn::Add(others, get(halves[i] + at));
    }
    if (join.subtract != nullptr) others = hn::Sub(others, get(join.subtract + at));
    v = hn::Add(v, others);
  }
  return v;
}

// out may be the buffer.
template <typename Out>
void norm_row(const NormPass& pass, const JoinPlan& join, int64_t row, float* buffer, Out* out) {
  const DF df;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(df)), width = pass.width,
                whole = width - width % lanes;
  const size_t rest = static_cast<size_t>(width - whole);
  const int64_t begin = row * width;
  const bool layer = pass.kind == NormKind::Layer;
  // Without adds and joins the input itself is the row to normalise.
  const bool plain =
      pass.addends.count() == 0 && join.parts.count() == 0 && pass.sum == nullptr && pass.base != nullptr;
  const float* u = plain ? pass.base + begin : buffer;

  // Σu for LayerNorm, Σu² for RMSNorm; two chains, so that adds of one don't wait for each other.
  VF total0 = hn::Zero(df), total1 = hn::Zero(df);
  const auto gather = [&](int64_t i) {
    const auto get = [](const auto* p) { return load(p); };
    const VF base = pass.base != nullptr ? load(pass.base + begin + i) : hn::Zero(df);
    if (plain) return base;
    const VF v = combined(pass, join, begin + i, base, pass.sum, get, 0, true);
    store(v, buffer + i);
    return v;
  };
  const auto gather_rest = [&](int64_t i) {
    const auto get = [rest](const auto* p) { return load_tail(p, rest); };
    const VF base = pass.base != nullptr ? get(pass.base + begin + i) : hn::Zero(df);
    if (plain) return base;
    const VF v = combined(pass, join, begin + i, base, pass.sum, get, rest, false);
    store(v, buffer + i);  // the buffer is a whole number of vectors
    return v;
  };
  const auto count = [&](VF v, VF total) { return layer ? hn::Add(total, v) : hn::MulAdd(v, v, total); };
  int64_t i = 0;
  for (; i + 2 * lanes <= whole; i += 2 * lanes) {
    total0 = count(gather(i), total0);
    total1 = count(gather(i + lanes), total1);
  }
  if (i < whole) total0 = count(gather(i), total0);
  if (rest != 0) total1 = count(gather_rest(whole), total1);
  if (pass.out == nullptr) return;
  const float total = hn::GetLane(hn::SumOfLanes(df, hn::Add(total0, total1)));

  const float divisor = static_cast<float>(width);
  float mean = 0.0f, square = total;
  if (layer) {
    mean = total / divisor;
    const VF m = hn::Set(df, mean);
    VF square0 = hn::Zero(df), square1 = hn::Zero(df);
    const auto deviation = [&](VF v, VF sum) {
      const VF d = hn::Sub(v, m);
      return hn::MulAdd(d, d, sum);
    };
    for (i = 0; i + 2 * lanes <= whole; i += 2 * lanes) {
      square0 = deviation(load(u + i), square0);
      square1 = deviation(load(u + i + lanes), square1);
    }
    if (i < whole) square0 = deviation(load(u + i), square0);
    if (rest != 0) {
      const VF d = hn::IfThenElseZero(hn::FirstN(df, rest), hn::Sub(load_tail(u + whole, rest), m));
      square1 = hn::MulAdd(d, d, square1);
    }
    square = hn::GetLane(hn::SumOfLanes(df, hn::Add(square0, square1)));
  }
  const float inverse = 1.0f / std::sqrt(square / divisor + pass.eps);

  const VF m = hn::Set(df, mean), scale = hn::Set(df, inverse);
  if (pass.bias != nullptr) {
    for (i = 0; i < whole; i += lanes) {
      const VF normal = hn::Mul(hn::Sub(load(u + i), m), scale);
      store(hn::MulAdd(normal, load(pass.weight + i), load(pass.bias + i)), out + i);
    }
  } else {
    for (i = 0; i < whole; i += lanes) {
      store(hn::Mul(hn::Mul(hn::Sub(load(u + i), m), scale), load(pass.weight + i)), out + i);
    }
  }
  if (rest != 0) {
    const VF normal = hn::Mul(hn::Sub(load_tail(u + whole, rest), m), scale);
    const VF weight = load_tail(pass.weight + whole, rest);
    const VF bias = pass.bias != nullptr ? load_tail(pass.bias + whole, rest) : hn::Zero(df);
    store_tail(pass.bias != nullptr ? hn::MulAdd(normal, weight, bias) : hn::Mul(normal, weight), out + whole,
               rest);
  }
}

void norm_rows(const NormPass& pass, const Addends& join_parts, const float* subtract, int64_t begin,
               int64_t end, float* buffer) {
  const JoinPlan join{join_parts, subtract};
  for (int64_t row = begin; row < end; ++row) {
    const auto row_of = [row](auto* out, int64_t pitch) {
      return out == nullptr ? nullptr : out + row * pitch;
    };
    if (pass.dtype == DType::BFloat16) {
      norm_row(pass, join, row, buffer, row_of(static_cast<uint16_t*>(pass.out), pass.width));
    } else if (pass.dtype == DType::Float32 || pass.out == nullptr) {
      norm_row(pass, join, row, buffer, row_of(static_cast<float*>(pass.out), pass.width));
    } else {
      norm_row(pass, join, row, buffer, buffer);
      quantise_row(buffer, pass.width,
                   row_of(static_cast<uint8_t*>(pass.out), quantised_row_bytes(pass.width)));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace kraken::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "backend/cpu/aligned_buffer.h"
#include "backend/cpu/instruction_set.h"
#include "backend/cpu/parallel.h"
#include "base/error.h"

namespace kraken::cpu {
namespace {

HWY_EXPORT(norm_rows);

constexpr size_t kMostParts = 256;  // ways of a model times anything sensible

}  // namespace

void norm_pass(const NormPass& pass) {
  cap_highway_targets();
  KRAKEN_CHECK(pass.width > 0 && (pass.out == nullptr || pass.weight != nullptr));
  KRAKEN_CHECK(pass.dtype != DType::Float16 && pass.join.float32.size() <= kMostParts);
  const float* parts[kMostParts];
  size_t count = 0;
  bool self_found = pass.join_self == nullptr;
  for (const float* part : pass.join.float32) {
    if (!self_found && part == pass.join_self) {
      self_found = true;
    } else {
      parts[count++] = part;
    }
  }
  const float* subtract = self_found ? nullptr : pass.join_self;
  const Addends join_parts{{parts, count}, pass.join.bfloat16};
  const auto streams = static_cast<int64_t>(2 + pass.addends.count() + pass.join.count());
  parallel_ranges(pass.rows, pass.width * streams, [&](int64_t begin, int64_t end) {
    thread_local AlignedBuffer buffer;
    const size_t bytes = static_cast<size_t>(pass.width) * sizeof(float) + 256;  // the tail is a whole vector
    if (buffer.bytes() < bytes) buffer = AlignedBuffer(bytes);
    HWY_DYNAMIC_DISPATCH(norm_rows)(pass, join_parts, subtract, begin, end, buffer.as<float>());
  });
}

}  // namespace kraken::cpu
#endif  // HWY_ONCE
