// What attention asks of the two implementations of its kernels (Highway in float32, AVX512_BF16 intrinsics
// in bfloat16), and the layout of the cache they share.
//
// Only plain data here: this is also compiled with AVX-512 flags, and a shared inline function compiled that
// way could be the copy that the linker keeps for everyone.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kraken::cpu {

inline constexpr int kCacheBlock = 64;  // tokens of a KV block
inline constexpr int kKeyVector = 16;   // keys that lie together
inline constexpr int kTaskRows = 48;    // rows that share a KV block while it is in cache

// One head's part of a KV block. A unit is 32 bits: in float32 one element, in bfloat16 a pair (of dimensions
// in K, of tokens in V).
//   K       [64 / 16][units][16 tokens] units
//   V tail  [tail][64 tokens] elements: the last head_dim mod 16 dimensions, when these are few. Heads of 113
//           would otherwise spend a vector in eight on padding; these are dot products along the keys
//           instead.
//   V       [value_rows][body] units: all other dimensions, to a multiple of 16
struct KvLayout {
  int head_dim = 0;
  int units = 0;       // of a key
  int value_rows = 0;  // of a block
  int body = 0, tail = 0;
  size_t tail_offset = 0, v_offset = 0, bytes = 0;  // multiples of 64
};

// One sequence's keys and values of one head.
struct HeadCache {
  const KvLayout* layout = nullptr;
  std::byte* head = nullptr;  // this head's part of block 0
  size_t block_stride = 0;
  const int32_t* blocks = nullptr;
};

struct AppendJob {
  HeadCache cache;
  const std::byte* key = nullptr;  // first token's key and value; the next token's lie row_bytes further
  const std::byte* value = nullptr;
  size_t row_bytes = 0;
  int position = 0, count = 0;  // of the first token, and of tokens
};

struct AttendJob {
  HeadCache cache;
  float scale = 0;  // log2(e) / √head_dim: softmax is computed with powers of two
  int rows = 0;     // at most kTaskRows
  const void* query[kTaskRows];
  void* out[kTaskRows];
  int32_t keys[kTaskRows];       // how many keys the row sees; never decreasing
  std::byte* scratch = nullptr;  // AttentionKernels::scratch_bytes, aligned to 64
  // What this thread attends to next, to be fetched meanwhile: one head's part of a block, and how many of
  // its keys. May be null.
  const std::byte* next = nullptr;
  int next_keys = 0;
};

struct AttentionKernels {
  size_t (*scratch_bytes)(const KvLayout& layout);
  void (*append)(const AppendJob& job);
  void (*attend)(const AttendJob& job);
};

// Null pointers where the translation unit could not be compiled for it (another architecture).
AttentionKernels avx512_bf16_attention_kernels();
AttentionKernels highway_attention_kernels();

// Part of the former, in a file of its own.
void append_avx512_bf16(const AppendJob& job);

}  // namespace kraken::cpu
