// How a kernel of attention walks through a job: over key vectors when it appends; over KV blocks and groups
// of rows when it attends. The two implementations give the tile functions (attention_highway.cpp says what
// each does).
//
// A row's bits do not depend on its neighbours, on chunking or on threads: KV blocks begin at multiples of
// kCacheBlock positions of the sequence, whatever the step holds; every sum is one chain in key order; masked
// keys add exact zeros; and whether a row's sums are rescaled is decided by its own scores.
//
// Everything here is a template over the kernel or always inlined, for the reason given in
// attention_kernels.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/attention_kernels.h"

#define KRAKEN_ALWAYS_INLINE __attribute__((always_inline)) inline

namespace kraken::cpu {

inline constexpr int kGroupRows = 6;                  // rows of a register tile
inline constexpr int kMostLanes = 16;                 // floats of the widest vector
inline constexpr int kPendingKeys = 4 * kCacheBlock;  // whose probabilities wait until values are weighed

// A row's reference follows the maximum of its scores only when that has grown by this power of two, so that
// sums rarely need to be rescaled; exponentials of up to 2^8 lose nothing.
inline constexpr float kReferenceSlack = 8.0f;
inline constexpr int kReferencePitch = 4, kReferenceFloats = 32;

KRAKEN_ALWAYS_INLINE std::byte* block_of(const HeadCache& cache, int position) {
  return cache.head + static_cast<size_t>(cache.blocks[position / kCacheBlock]) * cache.block_stride;
}

KRAKEN_ALWAYS_INLINE int query_pitch(const KvLayout& layout) {
  return (layout.units + 15) / 16 * 16;
}

// Memory to fetch while computing on what came before it. Into the second-level cache: the first can wait for
// fewer lines at a time than it takes to keep the memory busy.
struct Ahead {
  const std::byte* at = nullptr;
  const std::byte* end = nullptr;

  // To be called once for every kLines lines that the caller reads.
  template <int kLines>
  KRAKEN_ALWAYS_INLINE void fetch() {
    if (at >= end) return;
    for (int line = 0; line < kLines; ++line) __builtin_prefetch(at + line * 64, 0, 2);
    at += kLines * 64;
  }
  KRAKEN_ALWAYS_INLINE void fetch_rest() {
    for (; at < end; at += 64) __builtin_prefetch(at, 0, 2);
  }
};

// Up to kGroupRows rows that go through the register tile together.
struct RowGroup {
  int rows = 0;
  float scale = 0;
  const int32_t* keys = nullptr;
  int32_t edge = 0;  // keys of the last row
  const KvLayout* layout = nullptr;
  std::byte* query = nullptr;          // [kGroupRows][query_pitch] units
  std::byte* probabilities = nullptr;  // [kGroupRows][kPendingKeys] elements
  int pending = 0;                     // position of the first of these that is not in the sums
  float* sums = nullptr;               // Σ p·v: [kGroupRows][body]
  float* tail_sums = nullptr;          // partial sums: [kGroupRows][tail][kMostLanes]
  float* totals = nullptr;             // Σ p, partial sums: [kGroupRows][kMostLanes]
  // Exponentials are relative to these scores; each row has kReferencePitch floats, as vectors need them.
  alignas(64) float reference[kReferenceFloats];
  alignas(64) float rescale[kReferenceFloats];  // of older sums, when a reference has moved
};

// Tile functions are templates over the rows of a group: 1 to kGroupRows.
#define KRAKEN_DISPATCH_ROWS(rows, function, ...) \
  switch (rows) {                                 \
    case 1:                                       \
      return function<1>(__VA_ARGS__);            \
    case 2:                                       \
      return function<2>(__VA_ARGS__);            \
    case 3:                                       \
      return function<3>(__VA_ARGS__);            \
    case 4:                                       \
      return function<4>(__VA_ARGS__);            \
    case 5:                                       \
      return function<5>(__VA_ARGS__);            \
    default:                                      \
      return function<6>(__VA_ARGS__);            \
  }

// Hands out the scratch of one group after the other, in pieces of whole cache lines.
template <typename Kernel>
struct Scratch {
  std::byte* at;

  void take(RowGroup& group, const KvLayout& layout) {
    const auto floats = [this](int per_row) {
      std::byte* taken = at;
      at += static_cast<size_t>(kGroupRows * per_row) * sizeof(float);
      return taken;
    };
    group.query = floats(query_pitch(layout));
    group.probabilities = floats(kPendingKeys);
    group.sums = reinterpret_cast<float*>(floats(layout.body));
    group.tail_sums = reinterpret_cast<float*>(floats(layout.tail * kMostLanes));
    group.totals = reinterpret_cast<float*>(floats(kMostLanes));
  }
};

template <typename Kernel>
size_t scratch_bytes(const KvLayout& layout) {
  const int floats = query_pitch(layout) + kPendingKeys + layout.body + (layout.tail + 1) * kMostLanes;
  return static_cast<size_t>(kTaskRows * floats) * sizeof(float);
}

// What is read while scoring the block at `begin`: its values, next.
template <typename Kernel>
Ahead values_ahead(const AttendJob& job, int begin, int last_key) {
  const KvLayout& layout = *job.cache.layout;
  const int keys = last_key - begin < kCacheBlock ? last_key - begin : kCacheBlock;
  const int per_row = kCacheBlock / layout.value_rows;
  const int body = (keys + per_row - 1) / per_row * layout.body;
  const std::byte* block = block_of(job.cache, begin);
  return {block + layout.tail_offset, block + layout.v_offset + static_cast<size_t>(body) * sizeof(float)};
}

// And while weighing these: the keys of the next block, or of what this thread attends to next.
template <typename Kernel>
Ahead keys_ahead(const AttendJob& job, int begin, int last_key) {
  const int left = last_key - begin - kCacheBlock;
  const std::byte* block = left > 0 ? block_of(job.cache, begin + kCacheBlock) : job.next;
  if (block == nullptr) return {};
  const int keys = left > 0 ? (left < kCacheBlock ? left : kCacheBlock) : job.next_keys;
  const int vectors = (keys + kKeyVector - 1) / kKeyVector;
  return {block, block + static_cast<size_t>(vectors * kKeyVector * job.cache.layout->units) * sizeof(float)};
}

template <typename Kernel>
void attend_rows(const AttendJob& job) {
  RowGroup groups[kTaskRows / kGroupRows];
  const int count = (job.rows + kGroupRows - 1) / kGroupRows;
  Scratch<Kernel> scratch{job.scratch};
  for (int g = 0; g < count; ++g) {
    RowGroup& group = groups[g];
    const int first = g * kGroupRows;
    group.rows = job.rows - first < kGroupRows ? job.rows - first : kGroupRows;
    group.scale = job.scale;
    group.keys = job.keys + first;
    group.edge = group.keys[group.rows - 1];
    group.layout = job.cache.layout;
    scratch.take(group, *group.layout);
    Kernel::begin(group, job.query + first);
  }
  const auto weigh = [&](RowGroup& group, int end, Ahead& ahead) {
    Kernel::weigh_values(group, job.cache, end < group.edge ? end : group.edge, ahead);
    group.pending = end;
  };

  const int last_key = job.keys[job.rows - 1];
  // Many rows multiply for longer than it takes to read what they share; few would wait for it.
  const bool few = count == 1;
  for (int begin = 0; begin < last_key; begin += kCacheBlock) {
    const int end = begin + kCacheBlock;
    Ahead none;
    Ahead values = few ? values_ahead<Kernel>(job, begin, last_key) : none;
    Ahead keys = few ? keys_ahead<Kernel>(job, begin, last_key) : none;
    for (int g = 0; g < count; ++g) {
      RowGroup& group = groups[g];
      if (begin >= group.edge) continue;
      const bool moved = Kernel::score(group, block_of(job.cache, begin), begin, values);
      if (!moved || begin == 0) continue;
      if (group.pending < begin) weigh(group, begin, none);
      Kernel::rescale(group);
    }
    for (int g = 0; g < count; ++g) {
      RowGroup& group = groups[g];
      if (begin >= group.edge) continue;
      if (few || end % kPendingKeys == 0 || end >= group.edge) weigh(group, end, keys);
    }
  }
  for (int g = 0; g < count; ++g) Kernel::finish(groups[g], job.out + g * kGroupRows);
}

// Kernel::append takes the tokens of one key vector.
template <typename Kernel>
void append_tokens(const AppendJob& job) {
  const int end = job.position + job.count;
  const auto row_bytes = static_cast<size_t>(job.cache.layout->units) * sizeof(float);
  const std::byte *key = job.key, *value = job.value;
  for (int from = job.position; from < end;) {
    const int vector_end = from / kKeyVector * kKeyVector + kKeyVector;
    const int to = end < vector_end ? end : vector_end, count = to - from;
    const int following = end - to < kKeyVector ? end - to : kKeyVector;
    // Rows lie a whole qkv row apart, which no hardware prefetcher follows.
    for (int t = count; t < count + following; ++t) {
      const size_t row = static_cast<size_t>(t) * job.row_bytes;
      for (size_t i = 0; i < row_bytes + 63; i += 64) {
        __builtin_prefetch(key + row + i);
        __builtin_prefetch(value + row + i);
      }
    }
    Kernel::append(job, block_of(job.cache, from), from % kCacheBlock, count, key, value);
    key += static_cast<size_t>(count) * job.row_bytes;
    value += static_cast<size_t>(count) * job.row_bytes;
    from = to;
  }
}

}  // namespace kraken::cpu
