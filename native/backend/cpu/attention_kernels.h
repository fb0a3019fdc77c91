// What the two implementations of attention (Highway in float32, AVX512_BF16 intrinsics in bfloat16) have in
// common: the jobs they are given and the walk over key blocks and row groups.
//
// A task is a block of query rows of one (sequence, way, key/value head); with grouped heads a row is a
// (token, head). Softmax is online over key blocks that begin at multiples of kKeyBlock positions of the
// sequence, whatever the step holds. Together with tiles in which every sum is one chain in key order, and
// masked keys that add exact zeros, this makes a row's bits independent of its neighbours, of chunking and of
// threads.
//
// Only plain pointers and no library templates here: this is also compiled with AVX-512 flags, and a shared
// inline function compiled that way could be the copy that the linker keeps for everyone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kraken::cpu {

inline constexpr int kCacheBlock = 64;  // tokens of a KV block
inline constexpr int kKeyBlock = 512;   // keys between two rescalings
inline constexpr int kGroupRows = 6;    // rows of a register tile
inline constexpr int kTaskRows = 48;    // rows that share a key block while it is in the second-level cache
inline constexpr int kMostLanes = 16;   // floats of the widest vector

inline constexpr int padded_dim(int head_dim) {
  return (head_dim + 15) / 16 * 16;
}

// Tokens [first_slot, first_slot + count) of one KV block.
struct AppendJob {
  std::byte* k = nullptr;  // this head's K and V within the block
  std::byte* v = nullptr;
  const std::byte* key = nullptr;  // first token's key and value; the next token's lie row_bytes further
  const std::byte* value = nullptr;
  size_t row_bytes = 0;
  int first_slot = 0, count = 0, head_dim = 0;
};

struct AttendJob {
  const std::byte* cache = nullptr;
  size_t block_stride = 0;
  size_t k_offset = 0, v_offset = 0;  // of this head within a block
  const int32_t* blocks = nullptr;
  int head_dim = 0;
  float scale = 0;  // log2(e) / √head_dim: softmax is computed with powers of two
  int rows = 0;     // at most kTaskRows
  const void* query[kTaskRows] = {};
  void* out[kTaskRows] = {};
  int32_t keys[kTaskRows] = {};  // how many keys the row sees; never decreasing
  std::byte* scratch = nullptr;  // scratch_bytes(head_dim), aligned to 64
};

struct AttentionKernels {
  void (*append)(const AppendJob& job);
  void (*attend)(const AttendJob& job);
};

// Null where the translation unit could not be compiled for it (another architecture).
AttentionKernels avx512_bf16_attention_kernels();
AttentionKernels highway_attention_kernels();

// Up to kGroupRows rows that go through the register tile together.
struct RowGroup {
  int rows = 0, head_dim = 0, padded = 0;
  float scale = 0;
  const int32_t* keys = nullptr;
  const std::byte* query = nullptr;  // packed: [kGroupRows][padded] elements
  float* sum_of_values = nullptr;    // [kGroupRows][padded]
  float maximum[kGroupRows];         // of the scores so far, unscaled
  float total[kGroupRows];           // Σ of the exponentials so far
  float rescale[kGroupRows];         // what the latest key block multiplies the older sums with
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

struct AttentionScratch {
  static constexpr size_t kScores = size_t{kGroupRows} * kKeyBlock * sizeof(float);
  static size_t rows(int head_dim) {  // queries, or sums of values
    return size_t{kTaskRows} * static_cast<size_t>(padded_dim(head_dim)) * sizeof(float);
  }
  static size_t bytes(int head_dim) { return 2 * kScores + 2 * rows(head_dim); }
};

// Kernel: the tile functions of one instruction set (see attention_highway.cpp for what each does).
template <typename Kernel>
void attend_rows(const AttendJob& job) {
  auto* scores = reinterpret_cast<float*>(job.scratch);
  std::byte* probabilities = job.scratch + AttentionScratch::kScores;
  auto* values = reinterpret_cast<float*>(job.scratch + 2 * AttentionScratch::kScores);
  const int padded = padded_dim(job.head_dim);
  std::byte* queries = job.scratch + 2 * AttentionScratch::kScores + AttentionScratch::rows(job.head_dim);
  const size_t group_query = size_t{kGroupRows} * static_cast<size_t>(padded) * sizeof(float);

  RowGroup groups[kTaskRows / kGroupRows];
  const int count = (job.rows + kGroupRows - 1) / kGroupRows;
  for (int g = 0; g < count; ++g) {
    RowGroup& group = groups[g];
    const int first = g * kGroupRows;
    group.rows = job.rows - first < kGroupRows ? job.rows - first : kGroupRows;
    group.head_dim = job.head_dim;
    group.padded = padded;
    group.scale = job.scale;
    group.keys = job.keys + first;
    group.query = queries + static_cast<size_t>(g) * group_query;
    group.sum_of_values = values + static_cast<size_t>(first) * static_cast<size_t>(padded);
    for (int r = 0; r < kGroupRows; ++r) {
      group.maximum[r] = -__builtin_inff();
      group.total[r] = 0.0f;
      group.rescale[r] = 0.0f;
    }
    Kernel::pack_queries(group, job.query + first, queries + static_cast<size_t>(g) * group_query);
  }

  const int last_key = job.keys[job.rows - 1];
  for (int begin = 0; begin < last_key; begin += kKeyBlock) {
    for (int g = 0; g < count; ++g) {
      RowGroup& group = groups[g];
      const int edge = group.keys[group.rows - 1];  // the causal edge of the group's last row
      if (begin >= edge) continue;
      const int columns = edge - begin < kKeyBlock ? edge - begin : kKeyBlock;
      const std::byte* v_blocks[kKeyBlock / kCacheBlock];
      alignas(64) float maxima[kGroupRows][kMostLanes];
      for (auto& row : maxima) {
        for (float& lane : row) lane = -__builtin_inff();
      }
      for (int at = 0; at < columns; at += kCacheBlock) {
        const int32_t block = job.blocks[(begin + at) / kCacheBlock];
        const std::byte* here = job.cache + static_cast<size_t>(block) * job.block_stride;
        v_blocks[at / kCacheBlock] = here + job.v_offset;
        const int width = columns - at < kCacheBlock ? columns - at : kCacheBlock;
        Kernel::score(group, here + job.k_offset, begin + at, width, scores + at, maxima);
      }
      Kernel::softmax(group, maxima, columns, scores, probabilities);
      Kernel::weigh_values(group, v_blocks, columns, probabilities, begin == 0);
    }
  }
  for (int g = 0; g < count; ++g) Kernel::finish(groups[g], job.out + g * kGroupRows);
}

}  // namespace kraken::cpu
