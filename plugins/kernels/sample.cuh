// Argmax and sampling, a block a row, a few passes over the row in place of a sort.
//
// A logit's key is an integer in the order of logits. What the filters leave is "every key above an edge, and
// the first so many (by id) at the edge"; both top_k and top_p find their edge digit by digit, from
// histograms of counts and of weights. Weights are integers, so no sum depends on the order in which threads
// add.
#pragma once

#include "block.cuh"
#include "philox.cuh"
#include "sample.h"

namespace kraken::kernels {

constexpr int kSampleThreads = 512;
constexpr int kSampleWarps = kSampleThreads / kWarpSize;
constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
constexpr float kGreedyBelow = 1e-5f;
constexpr float kWeightOne =
    1099511627776.0f;  // 2^40: the likeliest token's weight; 2^23 of them fit in 63 bits

// Larger logits have larger keys. −0 counts as 0.
__device__ __forceinline__ uint32_t key_of(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct Best {
  uint32_t key;
  int32_t id;
};

// Packed so that the larger is the likelier, and among equals the lower id.
__device__ __forceinline__ uint64_t pack(uint32_t key, int32_t id) {
  return static_cast<uint64_t>(key) << 32 | (0xffffffffu - static_cast<uint32_t>(id));
}
__device__ __forceinline__ Best unpack(uint64_t packed) {
  return {static_cast<uint32_t>(packed >> 32),
          static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(packed))};
}

struct SampleScratch {
  uint64_t packed[kMaxWarps];
  double sums[kMaxWarps];
  uint32_t counts[kDigits];
  unsigned long long masses[kDigits];  // CUDA's name for the type of its 64-bit atomics
  uint32_t warp_equals[kSampleWarps];
  unsigned long long warp_mass[kSampleWarps];
  uint32_t digit;
  unsigned long long above;
};

// The largest logit and where it is, in every thread; id -1 when the row holds NaN or +inf, or nothing
// finite.
__device__ __forceinline__ Best find_best(const float* logits, int32_t vocab, SampleScratch& scratch) {
  uint64_t best = 0;
  bool valid = true;
  for (int32_t id = static_cast<int32_t>(threadIdx.x); id < vocab; id += kSampleThreads) {
    const float logit = logits[id];
    valid = valid && logit < INFINITY;  // NaN is not
    best = Max()(best, pack(key_of(logit), id));
  }
  best = block_reduce(best, scratch.packed, Max());
  const bool whole = __syncthreads_and(valid) != 0;
  const Best found = unpack(best);
  if (!whole || found.key == key_of(-INFINITY)) return {found.key, -1};
  return found;
}

// log Σ exp(logits).
__device__ __forceinline__ double log_sum_exp(const float* logits, int32_t vocab, float max,
                                              SampleScratch& scratch) {
  float sum = 0.0f;
  for (int32_t id = static_cast<int32_t>(threadIdx.x); id < vocab; id += kSampleThreads) {
    sum += expf(logits[id] - max);
  }
  const double total = block_reduce(static_cast<double>(sum), scratch.sums, Sum());
  return static_cast<double>(max) + log(total);
}

// What is left of a row: keys above the edge, and at the edge the first `equals` ids.
struct Kept {
  uint32_t edge;
  uint32_t equals;
};
constexpr uint32_t kAllEquals = 0xffffffffu;

struct Weigher {
  float max, scale;
  __device__ unsigned long long operator()(float logit) const {
    return static_cast<unsigned long long>(llrintf(expf((logit - max) * scale) * kWeightOne));
  }
};

// One digit of an edge: given a prefix of the key, finds the digit in which a running total from the largest
// key down first reaches `wanted`, and what lies above that digit.
template <typename Value>
__device__ __forceinline__ void find_digit(const Value (&histogram)[kDigits], Value wanted, Value above,
                                           SampleScratch& scratch) {
  // The first warp: a lane sums 8 digits, the lanes' totals are scanned from the largest digit down.
  if (threadIdx.x < kWarpSize) {
    constexpr int kEach = kDigits / kWarpSize;
    const int lane = static_cast<int>(threadIdx.x);
    const int top = kDigits - 1 - lane * kEach;
    Value own = 0;
    for (int i = 0; i < kEach; ++i) own += histogram[top - i];
    Value before = own;
#pragma unroll
    for (int distance = 1; distance < kWarpSize; distance *= 2) {
      const Value other = __shfl_up_sync(kAllLanes, before, static_cast<unsigned int>(distance));
      if (lane >= distance) before += other;
    }
    before = above + before - own;
    if (before < wanted && before + own >= wanted) {
      int digit = top;
      while (before + histogram[digit] < wanted) before += histogram[digit--];
      scratch.digit = static_cast<uint32_t>(digit);
      scratch.above = before;
    }
  }
  __syncthreads();
}

// The edge of the `count` largest. count ≤ vocab.
__device__ __forceinline__ Kept keep_largest(const float* logits, int32_t vocab, uint32_t count,
                                             SampleScratch& scratch) {
  uint32_t prefix = 0, above = 0;
  for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kSampleThreads) scratch.counts[i] = 0;
    __syncthreads();
    for (int32_t id = static_cast<int32_t>(threadIdx.x); id < vocab; id += kSampleThreads) {
      const uint32_t key = key_of(logits[id]);
      if ((static_cast<uint64_t>(key) >> (shift + kDigitBits)) != prefix) continue;
      atomicAdd(&scratch.counts[key >> shift & (kDigits - 1)], 1u);
    }
    __syncthreads();
    find_digit(scratch.counts, count, above, scratch);
    prefix = prefix << kDigitBits | scratch.digit;
    above = static_cast<uint32_t>(scratch.above);
    __syncthreads();
  }
  return {prefix, count - above};
}

// The edge of the shortest list, likeliest first, whose weight reaches top_p of what `kept` leaves. Equal
// logits at kept's own edge have equal weights, so that it ends after `equals` of them is a matter of
// arithmetic.
__device__ __forceinline__ Kept keep_nucleus(const float* logits, int32_t vocab, const Kept& kept,
                                             float top_p, const Weigher& weigh, SampleScratch& scratch) {
  uint32_t prefix = 0;
  unsigned long long above = 0, wanted = 0;
  for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kSampleThreads) {
      scratch.masses[i] = 0;
      scratch.counts[i] = 0;
    }
    __syncthreads();
    for (int32_t id = static_cast<int32_t>(threadIdx.x); id < vocab; id += kSampleThreads) {
      const float logit = logits[id];
      const uint32_t key = key_of(logit);
      if (key < kept.edge || (static_cast<uint64_t>(key) >> (shift + kDigitBits)) != prefix) continue;
      const uint32_t digit = key >> shift & (kDigits - 1);
      if (key == kept.edge && atomicAdd(&scratch.counts[digit], 1u) >= kept.equals) continue;
      const unsigned long long weight = weigh(logit);
      if (weight != 0) atomicAdd(&scratch.masses[digit], weight);
    }
    __syncthreads();
    if (wanted == 0) {  // the first digit sees everything
      unsigned long long total = 0;
      for (int digit = 0; digit < kDigits; ++digit) total += scratch.masses[digit];
      const double share = ceil(static_cast<double>(top_p) * static_cast<double>(total));
      wanted = share < 1.0 ? 1 : static_cast<unsigned long long>(share);
      if (wanted > total) wanted = total;
    }
    find_digit(scratch.masses, wanted, above, scratch);
    prefix = prefix << kDigitBits | scratch.digit;
    above = scratch.above;
    __syncthreads();
  }
  // All of the edge's key weigh the same.
  const uint32_t bits = prefix & 0x80000000u ? prefix & 0x7fffffffu : ~prefix;
  const unsigned long long weight = weigh(__uint_as_float(bits));
  const unsigned long long equals = (wanted - above + weight - 1) / weight;
  return {prefix, static_cast<uint32_t>(prefix == kept.edge && equals > kept.equals ? kept.equals : equals)};
}

// Draws in proportion to the weights of what is kept, in the order of ids. Each warp has a stretch of the
// row: first its weight, then the one warp in whose stretch the draw falls walks it.
__device__ __forceinline__ int32_t draw(const float* logits, int32_t vocab, const Kept& kept, double uniform,
                                        const Weigher& weigh, SampleScratch& scratch) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize,
            lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int32_t stretch = (vocab + kSampleWarps - 1) / kSampleWarps;
  const int32_t begin = stretch * warp < vocab ? stretch * warp : vocab;
  const int32_t end = begin + stretch < vocab ? begin + stretch : vocab;

  const uint32_t bits = kept.edge & 0x80000000u ? kept.edge & 0x7fffffffu : ~kept.edge;
  const unsigned long long edge_weight = weigh(__uint_as_float(bits));
  unsigned long long mass = 0;  // above the edge
  uint32_t equals = 0;
  for (int32_t id = begin + lane; id < end; id += kWarpSize) {
    const float logit = logits[id];
    const uint32_t key = key_of(logit);
    if (key > kept.edge) mass += weigh(logit);
    if (key == kept.edge) ++equals;
  }
  mass = warp_reduce(mass, Sum());
  equals = warp_reduce(equals, Sum());
  if (lane == 0) {
    scratch.warp_mass[warp] = mass;
    scratch.warp_equals[warp] = equals;
    if (warp == 0) scratch.digit = 0xffffffffu;
  }
  __syncthreads();

  // Every thread: what lies before its warp's stretch, and in all of them.
  unsigned long long before = 0, total = 0;
  uint32_t equals_before = 0, equals_seen = 0;
  for (int other = 0; other < kSampleWarps; ++other) {
    if (other == warp) {
      before = total;
      equals_before = equals_seen;
    }
    const uint32_t room = kept.equals > equals_seen ? kept.equals - equals_seen : 0;
    const uint32_t here = scratch.warp_equals[other];
    total += scratch.warp_mass[other] + (here < room ? here : room) * edge_weight;
    equals_seen += here;
  }
  unsigned long long target = static_cast<unsigned long long>(uniform * static_cast<double>(total));
  if (target >= total) target = total - 1;

  const uint32_t room = kept.equals > equals_before ? kept.equals - equals_before : 0;
  const unsigned long long own = mass + (equals < room ? equals : room) * edge_weight;
  if (before <= target && target < before + own) {  // one warp, all of its lanes
    uint32_t seen = equals_before;
    for (int32_t first = begin; first < end; first += kWarpSize) {
      const int32_t id = first + lane;
      const float logit = id < end ? logits[id] : -INFINITY;
      const uint32_t key = key_of(logit);
      uint32_t equal = id < end && key == kept.edge ? 1 : 0;
      uint32_t equal_rank = equal;  // inclusive
      for (int distance = 1; distance < kWarpSize; distance *= 2) {
        const uint32_t other = __shfl_up_sync(kAllLanes, equal_rank, static_cast<unsigned int>(distance));
        if (lane >= distance) equal_rank += other;
      }
      const bool is_in = id < end && (key > kept.edge || (equal != 0 && seen + equal_rank <= kept.equals));
      const unsigned long long weight = is_in ? weigh(logit) : 0;
      unsigned long long reached = weight;
      for (int distance = 1; distance < kWarpSize; distance *= 2) {
        const unsigned long long other =
            __shfl_up_sync(kAllLanes, reached, static_cast<unsigned int>(distance));
        if (lane >= distance) reached += other;
      }
      if (before + reached > target && before + reached - weight <= target) {
        scratch.digit = static_cast<uint32_t>(id);
      }
      before += __shfl_sync(kAllLanes, reached, kWarpSize - 1);
      seen += __shfl_sync(kAllLanes, equal_rank, kWarpSize - 1);
      if (before > target) break;
    }
  }
  __syncthreads();
  return static_cast<int32_t>(scratch.digit);
}

static __global__ void __launch_bounds__(kSampleThreads)
    sample_kernel(const float* all_logits, int32_t vocab, const SampleRow* rows, int32_t* ids,
                  float* logprobs) {
  __shared__ SampleScratch scratch;
  const float* logits = all_logits + static_cast<int64_t>(blockIdx.x) * vocab;
  const Best best = find_best(logits, vocab, scratch);
  int32_t id = best.id;
  const SampleRow row = rows != nullptr ? rows[blockIdx.x] : SampleRow{0.0f, 0, 1.0f, 0.0f, 0, 0};
  if (id >= 0 && !(row.temperature < kGreedyBelow)) {
    const float max = logits[best.id];
    const Weigher weigh{max, 1.0f / row.temperature};
    Kept kept{key_of(-INFINITY) + 1, kAllEquals};  // impossible tokens are never kept
    if (row.top_k > 0 && row.top_k < vocab) {
      const Kept largest = keep_largest(logits, vocab, static_cast<uint32_t>(row.top_k), scratch);
      if (largest.edge >= kept.edge) kept = largest;
    }
    if (row.min_p > 0.0f) {
      const float floor = max + row.temperature * logf(row.min_p);
      const uint32_t edge = key_of(floor < max ? floor : max);
      if (edge > kept.edge) kept = {edge, kAllEquals};
    }
    if (row.top_p < 1.0f) kept = keep_nucleus(logits, vocab, kept, row.top_p, weigh, scratch);
    id = draw(logits, vocab, kept, philox_uniform(row.seed, row.position), weigh, scratch);
  }
  float logprob = NAN;
  if (logprobs != nullptr && id >= 0) {
    const double log_sum = log_sum_exp(logits, vocab, logits[best.id], scratch);
    logprob = static_cast<float>(static_cast<double>(logits[id]) - log_sum);
  }
  if (threadIdx.x != 0) return;
  ids[blockIdx.x] = id;
  if (logprobs != nullptr) logprobs[blockIdx.x] = logprob;
}

}  // namespace kraken::kernels
