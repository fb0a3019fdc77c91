// Where things are in a step of packed sequences: which sequence a token belongs to, where its keys and
// values are cached, which rows a tile has. Whatever is read from the device is clamped before it becomes an
// address.
#pragma once

#include "attention_plan.h"
#include "block.cuh"
#include "elements.cuh"

namespace kraken::kernels {

template <typename T>
struct Step {
  const T* qkv;  // [W,T,(h+2·kv)·hd]
  T* cache;  // [block][k|v][W·kv][block_tokens][row]; without pages one block of T tokens, in the workspace
  T* out;    // [W,R,h·hd]
  const int32_t *positions, *begins, *past, *tables, *wanted;
  int32_t heads, kv_heads, group, pairs, head_dim;  // group: h/kv; pairs: W·kv
  int32_t row;                                      // elements of a cached row
  int32_t tokens, sequences, rows;                  // T, S, R
  bool paged;
  int32_t table_width, block_tokens, block_shift, blocks;
  int32_t capacity;  // tokens that a sequence has room for
  float scale;       // of scores, times log2 e: softmax is in powers of two
};

struct Sequence {
  int32_t index, begin, length, past;  // length: tokens of this step
};

__device__ __forceinline__ int32_t clamp(int32_t value, int32_t least, int32_t most) {
  return value < least ? least : value > most ? most : value;
}

template <typename T>
__device__ __forceinline__ Sequence sequence_at(const Step<T>& step, int32_t index) {
  Sequence sequence;
  sequence.index = index;
  sequence.begin = clamp(step.begins[index], 0, step.tokens);
  sequence.length = clamp(step.begins[index + 1], sequence.begin, step.tokens) - sequence.begin;
  sequence.past = step.paged ? clamp(step.past[index], 0, step.capacity) : 0;
  return sequence;
}

// The key (which = 0) or value (1) of the sequence's token `at`, below capacity.
template <typename T>
__device__ __forceinline__ T* cached_row(const Step<T>& step, const Sequence& sequence, int32_t at,
                                         int32_t pair, int32_t which) {
  int64_t block = 0;
  int32_t slot = sequence.begin + at;
  if (step.paged) {
    const int64_t entry = static_cast<int64_t>(sequence.index) * step.table_width + (at >> step.block_shift);
    block = clamp(step.tables[entry], 0, step.blocks - 1);
    slot = at & (step.block_tokens - 1);
  }
  return step.cache + (((block * 2 + which) * step.pairs + pair) * step.block_tokens + slot) * step.row;
}

// Elements from a key's row to the same token's value.
template <typename T>
__device__ __forceinline__ int64_t value_distance(const Step<T>& step) {
  return static_cast<int64_t>(step.pairs) * step.block_tokens * step.row;
}

// Head `head` of a token, queries' heads first, then keys', then values'.
template <typename T>
__device__ __forceinline__ const T* qkv_row(const Step<T>& step, int32_t way, int32_t token, int32_t head) {
  const int64_t heads = step.heads + 2 * step.kv_heads;
  return step.qkv + ((static_cast<int64_t>(way) * step.tokens + token) * heads + head) * step.head_dim;
}

// Rows of one sequence for one key/value head: query after query, and of each the heads that share it.
struct Tile {
  Sequence sequence;
  int32_t first_query;  // of the sequence, as a row of the output
  int32_t first_row;    // of the tile
  int32_t rows;         // 0: there is no such tile
};

// The first of the wanted rows that is not below `token`.
template <typename T>
__device__ __forceinline__ int32_t query_from(const Step<T>& step, int32_t token) {
  if (step.wanted == nullptr) return token;
  int32_t low = 0, high = step.rows;
  while (low < high) {
    const int32_t middle = low + (high - low) / 2;
    if (step.wanted[middle] < token) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

template <typename T>
__device__ __forceinline__ int32_t token_of(const Step<T>& step, const Sequence& sequence, int32_t query) {
  const int32_t token = step.wanted == nullptr ? query : step.wanted[query];
  return clamp(token, sequence.begin, sequence.begin + sequence.length - 1);
}

// Keys that a query attends to: those up to its own.
template <typename T>
__device__ __forceinline__ int32_t keys_of(const Step<T>& step, const Sequence& sequence, int32_t query) {
  const int32_t keys = sequence.past + token_of(step, sequence, query) - sequence.begin + 1;
  return keys < step.capacity ? keys : step.capacity;
}

// Tile `number` of those of kTileRows rows that the launch has, into shared memory; a warp looks for it. The
// caller's block meets before it reads.
template <int kTileRows, typename T>
__device__ __forceinline__ void find_tile(const Step<T>& step, const TileLaunch& launch, int32_t number,
                                          Tile& found) {
  if (threadIdx.x >= kWarpSize) return;
  constexpr int kEach = 4;  // sequences of a lane, whose loads go side by side
  const int32_t lane = static_cast<int32_t>(threadIdx.x);
  int32_t before = 0;  // tiles of sequences before `first`
  for (int32_t first = 0; first < step.sequences; first += kEach * kWarpSize) {
    int32_t queries[kEach] = {}, tiles[kEach] = {}, own = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int32_t index = first + lane * kEach + i;
      if (index >= step.sequences) continue;
      const Sequence sequence = sequence_at(step, index);
      queries[i] = query_from(step, sequence.begin + sequence.length) - query_from(step, sequence.begin);
      const int64_t rows = static_cast<int64_t>(queries[i]) * step.group;
      if (rows >= launch.least && rows <= launch.most) {
        tiles[i] = static_cast<int32_t>((rows + kTileRows - 1) / kTileRows);
      }
      own += tiles[i];
    }
    int32_t up_to = own;
#pragma unroll
    for (int distance = 1; distance < kWarpSize; distance *= 2) {
      const int32_t other = __shfl_up_sync(kAllLanes, up_to, distance);
      if (lane >= distance) up_to += other;
    }
    const int32_t total = __shfl_sync(kAllLanes, up_to, kWarpSize - 1);
    if (number >= before + total) {
      before += total;
      continue;
    }
    int32_t at = before + up_to - own;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (number >= at && number < at + tiles[i]) {
        found.sequence = sequence_at(step, first + lane * kEach + i);
        found.first_query = query_from(step, found.sequence.begin);
        found.first_row = (number - at) * kTileRows;
        const int32_t left = queries[i] * step.group - found.first_row;
        found.rows = left < kTileRows ? left : kTileRows;
      }
      at += tiles[i];
    }
    return;
  }
  if (lane == 0) found.rows = 0;
}

// Row `row` of a tile, counted from its first: an output row and a head of the way.
template <typename T>
struct RowOf {
  int32_t query, head;
  __device__ RowOf(const Step<T>& step, const Tile& tile, int32_t pair, int32_t row) {
    const int32_t at = tile.first_row + row;
    query = tile.first_query + at / step.group;
    head = pair % step.kv_heads * step.group + at % step.group;
  }
};

template <typename T>
__device__ __forceinline__ T* out_row(const Step<T>& step, int32_t pair, const RowOf<T>& row) {
  const int64_t way = pair / step.kv_heads;
  return step.out + ((way * step.rows + row.query) * step.heads + row.head) * step.head_dim;
}

}  // namespace kraken::kernels
