// Which block of KV memory belongs to whom. Only bookkeeping: the memory itself lives in the backends, where
// block b is the same b on every rank. Blocks are counted references, so that sequences may share a common
// prefix.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kraken {

// The blocks of one sequence, in order: block i holds its tokens [i·block_tokens, (i+1)·block_tokens).
class BlockTable {
 public:
  std::span<const int32_t> blocks() const { return blocks_; }
  int32_t size() const { return static_cast<int32_t>(blocks_.size()); }
  bool empty() const { return blocks_.empty(); }
  // For as many blocks as it will ever hold, so that growing never allocates memory.
  void reserve(int32_t blocks) { blocks_.reserve(static_cast<size_t>(blocks)); }

 private:
  friend class KvCache;
  std::vector<int32_t> blocks_;
};

class KvCache {
 public:
  KvCache(int32_t blocks, int32_t block_tokens);

  int32_t block_tokens() const { return block_tokens_; }
  int32_t blocks() const { return static_cast<int32_t>(references_.size()); }
  int32_t free_blocks() const { return static_cast<int32_t>(free_.size()); }
  int32_t used_blocks() const { return blocks() - free_blocks(); }
  int32_t blocks_for(int64_t tokens) const {
    return static_cast<int32_t>((tokens + block_tokens_ - 1) / block_tokens_);
  }

  // Extends the table to hold `tokens`; all or nothing. False when too few blocks are free.
  bool grow(BlockTable& table, int64_t tokens);

  // `to`, which is empty, gets the first `count` blocks of `from`. Shared blocks are full and never written
  // again.
  void share(const BlockTable& from, int32_t count, BlockTable& to);

  // Gives every block of the table back; those nobody else refers to become free.
  void release(BlockTable& table);

 private:
  const int32_t block_tokens_;
  std::vector<int32_t> free_;  // a stack: the block released last is reused first, while it is in the caches
  std::vector<int32_t> references_;  // [blocks]
};

}  // namespace kraken
