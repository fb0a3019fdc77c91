// Causal attention of packed sequences over a paged key/value cache: rotary positions, grouped key/value
// heads, prompts in chunks, and one long sequence spread over the whole GPU.
//
// Rows of the cache are padded with zeros to a multiple of 16 bytes, so that keys and values move in whole
// vectors whatever the head dimension. Scores, softmax and sums are float32; float16 and bfloat16 multiply in
// tensor cores.
//
// What a launch does is chosen by shapes alone, never by what lies on the device, and no number read there
// (lengths, blocks, rows) leads out of the buffers it was given.
#pragma once

#include "types.h"

namespace kraken::kernels {

constexpr int32_t kMaxHeadDim = 256;
constexpr int32_t kMaxBlockTokens = 4096;

enum class RotaryStyle : int32_t { None, HalfSplit, Interleaved };

// Of a head's first `dims` elements; pair i turns by position · turns[i] full circles, turns[i] being
// base^(−2i/dims) · scale / 2π (RoFormer, arXiv 2104.09864).
struct Rotary {
  RotaryStyle style = RotaryStyle::None;
  int32_t dims = 0;  // even
  double turns[kMaxHeadDim / 2] = {};
};

struct AttentionShape {
  DType dtype = DType::Float32;  // of qkv, cache and output
  int32_t ways = 1;              // W
  int32_t heads = 1;             // h, of one way on this rank
  int32_t kv_heads = 1;          // divides heads
  int32_t head_dim = 1;          // hd: 1 to kMaxHeadDim
};

struct AttentionSpec {
  AttentionShape shape;
  float scale = 1;
  Rotary rotary;
  int64_t tokens = 0;                        // T
  int64_t sequences = 0;                     // S
  int64_t rows = 0;                          // of the output: T, or B where wanted_rows is given
  const void* qkv = nullptr;                 // [W,T,(h+2·kv)·hd]: queries, keys, values
  const int32_t* positions = nullptr;        // [T]
  const int32_t* sequence_begins = nullptr;  // [S+1]: first 0, last T
  const int32_t* past_lengths = nullptr;     // [S]: tokens of each sequence that are in the cache already
  const int32_t* block_tables = nullptr;     // [S,P]: blocks of each sequence, in the order of its tokens
  const int32_t* wanted_rows = nullptr;      // [B], ascending: tokens whose output is wanted; null: all
  int64_t table_width = 0;                   // P
  int32_t block_tokens = 64;                 // a power of two
  int64_t cache_blocks = 0;
  // This layer's blocks, [block][k|v][W·kv][block_tokens][kv_row()]. Null: the step's own tokens are all
  // there is to attend to, and nothing is kept; past_lengths and block_tables are then not read.
  void* cache = nullptr;
  void* workspace = nullptr;  // attention_workspace() bytes
  void* out = nullptr;        // [W,T,h·hd] or [W,B,h·hd]
};

// Elements of a row of the cache, and bytes of a block of one layer.
int64_t kv_row(const AttentionShape& shape);
int64_t kv_block_bytes(const AttentionShape& shape, int32_t block_tokens);

// Enough for every step of at most so many tokens.
int64_t attention_workspace(const AttentionShape& shape, int64_t max_tokens);

// Appends the step's keys and values to the cache, then attends: a few launches, one after another.
cudaError_t attention(const AttentionSpec& spec, cudaStream_t stream);

}  // namespace kraken::kernels
