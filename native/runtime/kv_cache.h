// Which block of KV memory belongs to whom. Only bookkeeping: the memory itself lives in the backends, where
// block b is the same b on every rank. Blocks are counted references, so that sequences may share a common
// prefix.
//
// With reuse, full blocks are remembered by what they hold (runtime/prefix_index.h). One that nobody refers
// to any more is idle: it counts as free, and is taken, the longest idle first, when no other is left. A
// table gives its blocks back from its last to its first, so a block becomes idle, and is taken, before those
// it extends.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/prefix_index.h"

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
  int32_t remembered_ = 0;  // leading blocks that are in the index
};

// Idle blocks, the longest idle first. Links by block number: nothing is allocated between steps.
class IdleBlocks {
 public:
  explicit IdleBlocks(int32_t blocks);
  int32_t size() const { return size_; }
  void push(int32_t block);
  void remove(int32_t block);
  int32_t oldest() const { return links_.back().next; }

 private:
  struct Link {
    int32_t previous = 0, next = 0;
  };
  Link& link(int32_t block) { return links_[static_cast<size_t>(block)]; }

  std::vector<Link> links_;  // the last one closes the ring
  int32_t size_ = 0;
};

class KvCache {
 public:
  KvCache(int32_t blocks, int32_t block_tokens, bool reuse = false);

  int32_t block_tokens() const { return block_tokens_; }
  bool reuses() const { return index_.has_value(); }
  int32_t blocks() const { return static_cast<int32_t>(references_.size()); }
  int32_t idle_blocks() const { return idle_.size(); }
  int32_t free_blocks() const { return static_cast<int32_t>(free_.size()) + idle_blocks(); }
  int32_t used_blocks() const { return blocks() - free_blocks(); }
  int32_t blocks_for(int64_t tokens) const {
    return static_cast<int32_t>((tokens + block_tokens_ - 1) / block_tokens_);
  }

  // Extends the table to hold `tokens`; all or nothing. False when too few blocks are free.
  bool grow(BlockTable& table, int64_t tokens);

  // `to`, which is empty, gets the first `count` blocks of `from`. Shared blocks are full and never written
  // again.
  void share(const BlockTable& from, int32_t count, BlockTable& to);

  // `table`, which is empty, gets the remembered blocks of the longest prefix of `tokens`. Says how many.
  int32_t adopt(std::span<const int32_t> tokens, BlockTable& table);

  // These tokens of the table's sequence are computed, so its full blocks may be adopted from now on. A block
  // that was remembered already takes the place of the table's own, whose content is the same.
  void remember(std::span<const int32_t> computed, BlockTable& table);

  // What the table's blocks hold is not to be trusted: nobody will adopt those that are its alone.
  void forget(BlockTable& table);

  // Gives every block of the table back; those nobody else refers to become free, or idle.
  void release(BlockTable& table);

 private:
  int32_t take_free();
  void refer(int32_t block);
  void drop(int32_t block);
  std::span<const int32_t> of_block(std::span<const int32_t> tokens, int32_t block) const;

  const int32_t block_tokens_;
  std::vector<int32_t> free_;  // a stack: the block released last is reused first, while it is in the caches
  std::vector<int32_t> references_;   // [blocks]
  std::optional<PrefixIndex> index_;  // with reuse
  IdleBlocks idle_;
};

}  // namespace kraken
