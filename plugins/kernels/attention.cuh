// The attention of a tile: keys and values pass through shared memory a few at a time, copied while the ones
// before are multiplied, and the softmax is corrected as larger scores come (FlashAttention, arXiv
// 2205.14135). Each warp has 16 rows. A tile's keys may be dealt to several blocks, whose partial sums a
// second kernel adds.
#pragma once

#include "attention_multiply.cuh"
#include "attention_step.cuh"
#include "rotary.cuh"

namespace kraken::kernels {

// A block appends one token: its rotated keys and its values, of all ways and heads.
constexpr int kAppendThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kAppendThreads)
    append_kernel(const __grid_constant__ Step<T> step, const __grid_constant__ Rotary rotary) {
  constexpr int N = kPer16<T>;
  __shared__ SharedRotary shared;
  __shared__ int32_t scratch[kMaxWarps];
  share(rotary, shared);
  const auto token = static_cast<int32_t>(blockIdx.x);
  int32_t begun = 0;  // sequences that begin at this token or before
  for (auto i = static_cast<int32_t>(threadIdx.x); i <= step.sequences; i += kAppendThreads) {
    begun += step.begins[i] <= token ? 1 : 0;
  }
  begun = block_reduce(begun, scratch, Sum());
  if (begun < 1 || begun > step.sequences) return;
  const Sequence sequence = sequence_at(step, begun - 1);
  const int32_t at = sequence.past + token - sequence.begin;
  if (at < 0 || at >= step.capacity || token - sequence.begin >= sequence.length) return;

  const int32_t vectors = step.row / N, position = step.positions[token];
  for (auto i = static_cast<int32_t>(threadIdx.x); i < 2 * step.pairs * vectors; i += kAppendThreads) {
    const int32_t begin = i % vectors * N, which = i / vectors / step.pairs, pair = i / vectors % step.pairs;
    const int32_t head = step.heads + which * step.kv_heads + pair % step.kv_heads;
    const T* from = qkv_row(step, pair / step.kv_heads, token, head);
    const Vector<T> vector = which == 0 ? rotated_vector(from, begin, step.head_dim, shared, position)
                                        : load_vector(from, begin, step.head_dim);
    *reinterpret_cast<uint4*>(cached_row(step, sequence, at, pair, which) + begin) = vector.bits;
  }
}

// Keys at a time, and how many such portions are in shared memory at once, for a tile of kWarps · 16 rows.
template <typename T, int HD, int kWarps>
struct TileShape {
  static constexpr bool kFew =
      kWarps == 1;  // more loads under way, of fewer bytes: memory is what it waits for
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kBytes = kFew ? 8192 : 16384;
  // float32's products are unrolled into single instructions, so fewer of them keep the code small.
  static constexpr int kMost = (kFew ? 32 : 64) * 2 / static_cast<int>(sizeof(T));
  static constexpr int kFit = kBytes / (HD * static_cast<int>(sizeof(T))) / 16 * 16;
  static constexpr int kKeys = kFit < 16 ? 16 : kFit > kMost ? kMost : kFit;
  static constexpr int kStages = kFew ? 3 : 2;
  // Blocks on a multiprocessor at once that registers must leave room for; shared memory allows no more.
  static constexpr int kBlocks = kFew ? 1 : HD <= 64 ? 4 : 2;
  static constexpr int kSharedBytes = (kRows + 2 * kStages * kKeys) * HD * static_cast<int>(sizeof(T));
};

// Copies keys and values [first, first + BN) of the sequence on their way; zeros from `keys` on.
template <int HD, int BN, int kThreads, typename T>
__device__ __forceinline__ void fetch(const Step<T>& step, const Tile& tile, int32_t pair, int32_t first,
                                      int32_t keys, int used, T* to_keys, T* to_values) {
  constexpr int N = kPer16<T>, kVectors = HD / N;
  const int64_t distance = value_distance(step);
#pragma unroll 4
  for (auto i = static_cast<int>(threadIdx.x); i < BN * kVectors; i += kThreads) {
    const int row = i / kVectors, vector = i % kVectors;
    if (vector * N >= used) continue;
    const int32_t at = first + row;
    const bool valid = at < keys && vector * N < step.row;
    const T* from = valid ? cached_row(step, tile.sequence, at, pair, 0) + vector * N : step.cache;
    copy_async16(shared_vector<HD>(to_keys, row, vector), from, valid);
    copy_async16(shared_vector<HD>(to_values, row, vector), valid ? from + distance : from, valid);
  }
}

// The tile's queries, rotated; zeros in rows and columns that it does not have.
template <int HD, int kThreads, typename T>
__device__ __forceinline__ void load_queries(const Step<T>& step, const Tile& tile, int32_t pair,
                                             int tile_rows, int used, const SharedRotary& rotary, T* to) {
  constexpr int N = kPer16<T>, kVectors = HD / N;
  for (auto i = static_cast<int>(threadIdx.x); i < tile_rows * kVectors; i += kThreads) {
    const int at = i / kVectors, vector = i % kVectors;
    if (vector * N >= used) continue;
    Vector<T> query(uint4{});
    if (at < tile.rows && vector * N < step.head_dim) {
      const RowOf<T> row(step, tile, pair, at);
      const int32_t token = token_of(step, tile.sequence, row.query);
      query = rotated_vector(qkv_row(step, pair / step.kv_heads, token, row.head), vector * N, step.head_dim,
                             rotary, step.positions[token]);
    }
    *reinterpret_cast<uint4*>(shared_vector<HD>(to, at, vector)) = query.bits;
  }
}

// The softmax of the two rows whose scores a lane has some of, as far as keys have come.
struct Softmax {
  float largest[2] = {-INFINITY, -INFINITY};
  float total[2] = {0, 0};  // of this lane's weights

  // Turns scores into weights, and scales the sums that were made with smaller ones.
  template <int kScores, int kSums>
  __device__ __forceinline__ void update(float (&s)[kScores][4], float (&o)[kSums][4]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      float most = largest[row];
#pragma unroll
      for (int n = 0; n < kScores; ++n) most = fmaxf(most, fmaxf(s[n][2 * row], s[n][2 * row + 1]));
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
      const float origin = most == -INFINITY ? 0.0f : most;  // no key so far: weights of 0, not NaN
      const float shrink = exp2f(largest[row] - origin);
      largest[row] = most;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kScores; ++n) {
#pragma unroll
        for (int j = 2 * row; j < 2 * row + 2; ++j) {
          s[n][j] = exp2f(s[n][j] - origin);
          sum += s[n][j];
        }
      }
      total[row] = total[row] * shrink + sum;
#pragma unroll
      for (int n = 0; n < kSums; ++n) {
        o[n][2 * row] *= shrink;
        o[n][2 * row + 1] *= shrink;
      }
    }
  }

  __device__ __forceinline__ float row_total(int row) const {
    float sum = total[row] + __shfl_xor_sync(kAllLanes, total[row], 1);
    return sum + __shfl_xor_sync(kAllLanes, sum, 2);
  }
};

// Where a block leaves the results of a split tile: a row of partial_row() floats for each of its rows.
__device__ __forceinline__ float* partial_rows(float* partials, int32_t tile, int32_t pairs, int32_t pair,
                                               int32_t splits, int32_t split, int32_t floats) {
  return partials + ((static_cast<int64_t>(tile) * pairs + pair) * splits + split) * kFewRows * floats;
}

// Grid: tiles × pairs × splits. `partials` null: one split, which writes to the output.
template <typename T, int HD, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarpSize, TileShape<T, HD, kWarps>::kBlocks)
    attend_kernel(const __grid_constant__ Step<T> step, const __grid_constant__ Rotary rotary,
                  TileLaunch launch, float* partials, int32_t partial_floats) {
  using Shape = TileShape<T, HD, kWarps>;
  constexpr int N = kPer16<T>, BN = Shape::kKeys, kStages = Shape::kStages, kThreads = kWarps * kWarpSize;
  constexpr int kPortion = BN * HD;
  __shared__ SharedRotary shared;
  __shared__ Tile tile;
  T* queries = dynamic_shared<T>();
  T* keys = queries + Shape::kRows * HD;
  T* values = keys + kStages * kPortion;

  // Tiles late in a prompt have the most keys, so they come first.
  const auto number = static_cast<int32_t>(gridDim.x - 1 - blockIdx.x),
             pair = static_cast<int32_t>(blockIdx.y);
  find_tile<Shape::kRows>(step, launch, number, tile);
  share(rotary, shared);
  __syncthreads();
  if (tile.rows == 0) return;

  const auto query_of = [&](int row) { return RowOf<T>(step, tile, pair, row).query; };
  const int32_t fewest = keys_of(step, tile.sequence, query_of(0));
  const int32_t most = keys_of(step, tile.sequence, query_of(tile.rows - 1));
  const int32_t portions = (most + BN - 1) / BN, each = (portions + launch.splits - 1) / launch.splits;
  const int32_t begin = static_cast<int32_t>(blockIdx.z) * each;
  const int32_t end = begin + each < portions ? begin + each : portions;
  const int used = (step.head_dim + 15) / 16 * 16;
  const auto fetch_portion = [&](int32_t portion) {
    const int stage = (portion - begin) % kStages;
    if (portion < end) {
      fetch<HD, BN, kThreads>(step, tile, pair, portion * BN, most, used, keys + stage * kPortion,
                              values + stage * kPortion);
    }
    commit_copies();  // an empty group too, so that waiting may count them
  };
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) fetch_portion(begin + i);
  load_queries<HD, kThreads>(step, tile, pair, Shape::kRows, used, shared, queries);

  const int warp = static_cast<int>(threadIdx.x) / kWarpSize,
            lane = static_cast<int>(threadIdx.x) % kWarpSize;
  T* warp_queries = queries + warp * kWarpRows * HD;
  const int rows[2] = {warp * kWarpRows + lane / 4, warp * kWarpRows + lane / 4 + 8};
  int32_t limits[2];
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    limits[row] = rows[row] < tile.rows ? keys_of(step, tile.sequence, query_of(rows[row])) : 0;
  }
  const bool has_rows = warp * kWarpRows < tile.rows;
  float o[HD / 8][4] = {};
  Softmax softmax;
  for (int32_t portion = begin; portion < end; ++portion) {
    wait_for_copies<kStages - 2>();
    __syncthreads();  // everyone's copies are here, and the portion before is no longer read
    fetch_portion(portion + kStages - 1);
    const int stage = (portion - begin) % kStages;
    if (!has_rows) continue;
    float s[BN / 8][4] = {};
    Multiply<T, HD, BN>::scores(warp_queries, keys + stage * kPortion, used, s);
    const bool whole = (portion + 1) * BN <= fewest;
#pragma unroll
    for (int n = 0; n < BN / 8; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int32_t key = portion * BN + n * 8 + lane % 4 * 2 + j % 2;
        s[n][j] = whole || key < limits[j / 2] ? s[n][j] * step.scale : -INFINITY;
      }
    }
    softmax.update(s, o);
    Multiply<T, HD, BN>::sums(s, values + stage * kPortion, used, o);
  }
  wait_for_copies<0>();

  const float totals[2] = {softmax.row_total(0), softmax.row_total(1)};
  if (kWarps == 1 && partials != nullptr) {
    float* to = partial_rows(partials, number, step.pairs, pair, launch.splits,
                             static_cast<int32_t>(blockIdx.z), partial_floats);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      if (rows[row] >= tile.rows) continue;
      float* row_to = to + rows[row] * partial_floats;
      if (lane % 4 == 0) {
        row_to[0] = softmax.largest[row];
        row_to[1] = totals[row];
      }
#pragma unroll
      for (int n = 0; n < HD / 8; ++n) {
        const int column = n * 8 + lane % 4 * 2;
        if (kPartialHead + column >= partial_floats) break;
        row_to[kPartialHead + column] = o[n][2 * row];
        row_to[kPartialHead + column + 1] = o[n][2 * row + 1];
      }
    }
    return;
  }

  // Through shared memory, where the queries were, so that whole vectors are written.
  __syncthreads();
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const float scale = totals[row] > 0 ? 1 / totals[row] : 0;
#pragma unroll
    for (int n = 0; n < HD / 8; ++n) {
      const int column = n * 8 + lane % 4 * 2;
      T* to = shared_vector<HD>(queries, rows[row], column / N) + column % N;
      to[0] = from_float<T>(o[n][2 * row] * scale);
      to[1] = from_float<T>(o[n][2 * row + 1] * scale);
    }
  }
  __syncthreads();
  const auto row_at = [&](int row) { return out_row(step, pair, RowOf<T>(step, tile, pair, row)); };
  if (step.head_dim % N == 0) {
    const int vectors = step.head_dim / N;
    for (auto i = static_cast<int>(threadIdx.x); i < tile.rows * vectors; i += kThreads) {
      const int row = i / vectors, vector = i % vectors;
      store_vector(row_at(row), vector * N, step.head_dim,
                   Vector<T>(*reinterpret_cast<const uint4*>(shared_vector<HD>(queries, row, vector))));
    }
  } else {
    for (auto i = static_cast<int>(threadIdx.x); i < tile.rows * step.head_dim; i += kThreads) {
      const int row = i / step.head_dim, column = i % step.head_dim;
      row_at(row)[column] = shared_vector<HD>(queries, row, column / N)[column % N];
    }
  }
}

// Grid: tiles × pairs. Adds the splits' sums, each in the scale of the largest score of all.
constexpr int kCombineThreads = 128;

template <typename T>
__global__ void __launch_bounds__(kCombineThreads)
    combine_kernel(const __grid_constant__ Step<T> step, TileLaunch launch, float* partials,
                   int32_t partial_floats) {
  constexpr int kWarps = kCombineThreads / kWarpSize;
  __shared__ Tile tile;
  __shared__ float weights[kWarps][kMaxSplits];
  const auto number = static_cast<int32_t>(blockIdx.x), pair = static_cast<int32_t>(blockIdx.y);
  find_tile<kFewRows>(step, launch, number, tile);
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize,
            lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int64_t split_floats = static_cast<int64_t>(kFewRows) * partial_floats;
  for (int first = 0; first < tile.rows; first += kWarps) {
    const int row = first + warp;
    const bool has_row = row < tile.rows;
    const float* from = partial_rows(partials, number, step.pairs, pair, launch.splits, 0, partial_floats) +
                        row * partial_floats;
    float largest = -INFINITY, total = 0;
    for (int split = lane; has_row && split < launch.splits; split += kWarpSize) {
      largest = fmaxf(largest, from[split * split_floats]);
    }
    largest = warp_reduce(largest, Max());
    for (int split = lane; has_row && split < launch.splits; split += kWarpSize) {
      const float own = from[split * split_floats];
      const float weight = own == -INFINITY ? 0.0f : exp2f(own - largest);
      weights[warp][split] = weight;
      total += weight * from[split * split_floats + 1];
    }
    total = warp_reduce(total, Sum());
    __syncthreads();
    if (has_row) {
      T* out = out_row(step, pair, RowOf<T>(step, tile, pair, row));
      for (int column = lane; column < step.head_dim; column += kWarpSize) {
        float sum = 0;
        for (int split = 0; split < launch.splits; ++split) {
          const float weight = weights[warp][split];
          if (weight > 0) sum += weight * from[split * split_floats + kPartialHead + column];
        }
        out[column] = from_float<T>(total > 0 ? sum / total : 0.0f);
      }
    }
    __syncthreads();
  }
}

}  // namespace kraken::kernels
