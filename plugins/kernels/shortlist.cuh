// A row's largest columns and its mass, a block a row, in a few passes in place of a sort.
//
// A logit's key is an integer in the order of logits. The largest are "every key above an edge, and the first
// so many (by column) at the edge"; the edge is found digit by digit, from histograms of counts. Weights are
// integers, so no sum depends on the order in which threads add, nor on how columns are dealt to ranks.
#pragma once

#include "block.cuh"
#include "shortlist.h"

namespace kraken::kernels {

constexpr int kShortlistThreads = 512;
constexpr int kShortlistWarps = kShortlistThreads / kWarpSize;
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;

// Larger logits have larger keys. −0 counts as 0.
__device__ __forceinline__ uint32_t key_of(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct ShortlistScratch {
  uint64_t packed[kMaxWarps];
  uint64_t sums[kMaxWarps];
  uint32_t counts[kDigits];
  uint32_t warp_above[kShortlistWarps], warp_equals[kShortlistWarps];
  uint32_t digit, above;
};

// exp(x) for x ≤ 0: the same operations in the same order as native/runtime/vector_math.cpp, none of them
// fused, so that the bits are the same. test/kernels/shortlist_agreement_test.cpp holds them together.
__device__ __forceinline__ float exp_of_negative(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 · 2^23: adding it rounds to the nearest integer
  const auto mul_add = [](float a, float b, float c) { return __fadd_rn(__fmul_rn(a, b), c); };
  const float shifted = mul_add(x, 1.44269504088896341f, kRound);
  const float n = __fadd_rn(shifted, -kRound);
  const float r = mul_add(n, 2.12194440e-4f, __fadd_rn(x, -__fmul_rn(n, 0.693359375f)));
  float p = 1.9875691500e-4f;
  p = mul_add(p, r, 1.3981999507e-3f);
  p = mul_add(p, r, 8.3334519073e-3f);
  p = mul_add(p, r, 4.1665795894e-2f);
  p = mul_add(p, r, 1.6666665459e-1f);
  p = mul_add(p, r, 5.0000001201e-1f);
  p = __fadd_rn(mul_add(__fmul_rn(p, r), r, r), 1.0f);
  const float power = __uint_as_float((__float_as_uint(shifted) << 23) + 0x3f800000u);  // 2^n
  return x < -87.0f ? 0.0f : __fmul_rn(p, power);
}

// Of a column, in units of 2^-40 of the likeliest. −inf weighs nothing.
__device__ __forceinline__ uint64_t weigh(float logit, float max, float scale) {
  constexpr float kOne = 1099511627776.0f;  // 2^40: scaling by it is exact
  const float weight = exp_of_negative(__fmul_rn(__fadd_rn(logit, -max), scale));
  return static_cast<uint64_t>(llrintf(__fmul_rn(weight, kOne)));
}

// What is left of a row: keys above the edge, and at the edge the first `equals` columns.
struct Kept {
  uint32_t edge;
  uint32_t equals;
};
constexpr uint32_t kAllEquals = 0xffffffffu;

// Σ of the lanes up to this one.
__device__ __forceinline__ uint32_t warp_scan(uint32_t value, int lane) {
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const uint32_t other = __shfl_up_sync(kAllLanes, value, static_cast<unsigned int>(distance));
    if (lane >= distance) value += other;
  }
  return value;
}

// One digit of an edge: given a prefix of the key, finds the digit in which a running total from the largest
// key down first reaches `wanted`, and what lies above that digit.
__device__ __forceinline__ void find_digit(const uint32_t (&histogram)[kDigits], uint32_t wanted,
                                           uint32_t above, ShortlistScratch& scratch) {
  // The first warp: a lane sums 8 digits, the lanes' totals are scanned from the largest digit down.
  if (threadIdx.x < kWarpSize) {
    constexpr int kEach = kDigits / kWarpSize;
    const int lane = static_cast<int>(threadIdx.x);
    const int top = kDigits - 1 - lane * kEach;
    uint32_t own = 0;
    for (int i = 0; i < kEach; ++i) own += histogram[top - i];
    uint32_t before = above + warp_scan(own, lane) - own;
    if (before < wanted && before + own >= wanted) {
      int digit = top;
      while (before + histogram[digit] < wanted) before += histogram[digit--];
      scratch.digit = static_cast<uint32_t>(digit);
      scratch.above = before;
    }
  }
  __syncthreads();
}

// The edge of the `count` largest. count ≤ columns.
__device__ __forceinline__ Kept keep_largest(const float* logits, int32_t columns, uint32_t count,
                                             ShortlistScratch& scratch) {
  uint32_t prefix = 0, above = 0;
  for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kShortlistThreads) scratch.counts[i] = 0;
    __syncthreads();
    for (int32_t column = static_cast<int32_t>(threadIdx.x); column < columns; column += kShortlistThreads) {
      const uint32_t key = key_of(logits[column]);
      if ((static_cast<uint64_t>(key) >> (shift + kDigitBits)) != prefix) continue;
      atomicAdd(&scratch.counts[key >> shift & (kDigits - 1)], 1u);
    }
    __syncthreads();
    find_digit(scratch.counts, count, above, scratch);
    prefix = prefix << kDigitBits | scratch.digit;
    above = scratch.above;
    __syncthreads();
  }
  return {prefix, count - above};
}

// Writes what is kept, ascending by column. Each warp has a stretch of the row: first it counts what it will
// write, then it knows where. Returns how many there are.
__device__ __forceinline__ uint32_t write_kept(const float* logits, int32_t columns, const Kept& kept,
                                               Candidate* out, ShortlistScratch& scratch) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize,
            lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int32_t stretch = (columns + kShortlistWarps - 1) / kShortlistWarps;
  const int32_t begin = stretch * warp < columns ? stretch * warp : columns;
  const int32_t end = begin + stretch < columns ? begin + stretch : columns;
  uint32_t above = 0, equals = 0;
  for (int32_t column = begin + lane; column < end; column += kWarpSize) {
    const uint32_t key = key_of(logits[column]);
    above += key > kept.edge ? 1 : 0;
    equals += key == kept.edge ? 1 : 0;
  }
  above = warp_reduce(above, Sum());
  equals = warp_reduce(equals, Sum());
  if (lane == 0) {
    scratch.warp_above[warp] = above;
    scratch.warp_equals[warp] = equals;
  }
  __syncthreads();

  uint32_t written = 0, equals_before = 0, total = 0, all_equals = 0;
  for (int other = 0; other < kShortlistWarps; ++other) {
    if (other == warp) {
      written = total;
      equals_before = all_equals;
    }
    const uint32_t room = kept.equals > all_equals ? kept.equals - all_equals : 0;
    const uint32_t here = scratch.warp_equals[other];
    total += scratch.warp_above[other] + (here < room ? here : room);
    all_equals += here;
  }
  if (above == 0 && (equals == 0 || equals_before >= kept.equals)) return total;
  for (int32_t first = begin; first < end; first += kWarpSize) {  // all lanes of the warp
    const int32_t column = first + lane;
    const float logit = column < end ? logits[column] : -INFINITY;
    const uint32_t key = key_of(logit);
    const uint32_t equal = column < end && key == kept.edge ? 1 : 0;
    const uint32_t equal_number = equals_before + warp_scan(equal, lane);
    const uint32_t keeps =
        column < end && (key > kept.edge || (equal != 0 && equal_number <= kept.equals)) ? 1 : 0;
    const uint32_t number = warp_scan(keeps, lane);
    if (keeps != 0) out[written + number - 1] = {logit, column};
    written += __shfl_sync(kAllLanes, number, kWarpSize - 1);
    equals_before = __shfl_sync(kAllLanes, equal_number, kWarpSize - 1);
  }
  return total;
}

static __global__ void __launch_bounds__(kShortlistThreads)
    row_maxima_kernel(const float* all_logits, int32_t columns, int32_t rank, int32_t ranks, float* maxima) {
  __shared__ float scratch[kMaxWarps];
  const float* logits = all_logits + static_cast<int64_t>(blockIdx.x) * columns;
  float max = -INFINITY;
  for (int32_t column = static_cast<int32_t>(threadIdx.x); column < columns; column += kShortlistThreads) {
    max = Max()(max, logits[column]);
  }
  max = block_reduce(max, scratch, Max());
  const int other = static_cast<int>(threadIdx.x);
  if (other < ranks)
    maxima[static_cast<int64_t>(other) * gridDim.x + blockIdx.x] = other == rank ? max : 0.0f;
}

static __global__ void __launch_bounds__(kShortlistThreads)
    shortlist_kernel(const float* all_logits, int32_t columns, const ShortlistRequest* requests,
                     const float* maxima, int32_t ranks, int32_t capacity, char* out, int64_t row_bytes) {
  __shared__ ShortlistScratch scratch;
  const ShortlistRequest request = requests[blockIdx.x];
  if (request.count <= 0) return;
  const uint32_t count = static_cast<uint32_t>(request.count < capacity ? request.count : capacity);
  const float* logits = all_logits + static_cast<int64_t>(blockIdx.x) * columns;
  char* place = out + blockIdx.x * row_bytes;
  auto* candidates = reinterpret_cast<Candidate*>(place + sizeof(ShortlistHead));

  // The largest of all, which is all that a greedy row asks for, the lowest column among equals.
  constexpr uint32_t kLastColumn = 0xffffffffu;
  uint64_t best = 0, possible = 0;
  bool valid = true;
  for (int32_t column = static_cast<int32_t>(threadIdx.x); column < columns; column += kShortlistThreads) {
    const float logit = logits[column];
    valid = valid && logit < INFINITY;  // NaN is not
    possible += logit > -INFINITY ? 1 : 0;
    const uint64_t packed =
        static_cast<uint64_t>(key_of(logit)) << 32 | (kLastColumn - static_cast<uint32_t>(column));
    best = Max()(best, packed);
  }
  best = block_reduce(best, scratch.packed, Max());
  possible = block_reduce(possible, scratch.sums, Sum());
  ShortlistHead head{};
  head.has_numbers = __syncthreads_and(valid) != 0 ? 1 : 0;
  head.is_whole = possible <= count ? 1 : 0;
  if (head.has_numbers != 0 && possible > 0) {
    if (count == 1) {
      const int32_t column = static_cast<int32_t>(kLastColumn - static_cast<uint32_t>(best));
      if (threadIdx.x == 0) candidates[0] = {logits[column], column};
      head.count = 1;
    } else {
      Kept kept{key_of(-INFINITY) + 1, kAllEquals};  // impossible tokens are never kept
      if (possible > count) kept = keep_largest(logits, columns, count, scratch);
      head.count = static_cast<int32_t>(write_kept(logits, columns, kept, candidates, scratch));
    }
    if (request.needs_mass != 0 && maxima != nullptr) {
      float max = -INFINITY;
      for (int32_t rank = 0; rank < ranks; ++rank) {
        max = Max()(max, maxima[static_cast<int64_t>(rank) * gridDim.x + blockIdx.x]);
      }
      uint64_t mass = 0;
      for (int32_t column = static_cast<int32_t>(threadIdx.x); column < columns;
           column += kShortlistThreads) {
        mass += weigh(logits[column], max, request.scale);
      }
      head.mass = block_reduce(mass, scratch.sums, Sum());
    }
  }
  if (threadIdx.x == 0) *reinterpret_cast<ShortlistHead*>(place) = head;
}

}  // namespace kraken::kernels
