// Which block holds the keys and values of which prefix: from the tokens of a full block, and the prefix
// before it, to the block. What a block holds is decided by every token from the sequence's first to the
// block's last, and by nothing else (one engine, hence one model, dtype and position 0).
//
// A prefix has a number, never used twice; a block is known by the number of the prefix it extends and by its
// own tokens, which are compared and not only hashed: equal means equal, by induction over the blocks. A
// block whose parent was forgotten can therefore never be found again, whatever comes after.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kraken {

class PrefixIndex {
 public:
  static constexpr int32_t kNone = -1;

  // Allocates everything it will ever need.
  PrefixIndex(int32_t blocks, int32_t block_tokens);

  // The block with these tokens after the prefix that ends with block `parent` (kNone: at the beginning);
  // kNone when there is none.
  int32_t find(int32_t parent, std::span<const int32_t> tokens) const;

  // `block` is not in the index, `parent` is (or kNone), and nothing is found for the two.
  void insert(int32_t block, int32_t parent, std::span<const int32_t> tokens);

  void erase(int32_t block);
  bool contains(int32_t block) const { return entries_[static_cast<size_t>(block)].prefix != 0; }

 private:
  struct Entry {
    uint64_t prefix = 0;   // the number of what ends with this block; 0: not in the index
    uint64_t parent = 0;   // the number of what it extends; 0: the beginning
    int32_t next = kNone;  // of the same bucket
  };

  uint64_t prefix_of(int32_t block) const;
  size_t bucket_of(uint64_t parent, std::span<const int32_t> tokens) const;
  std::span<const int32_t> tokens_of(int32_t block) const;

  const int32_t block_tokens_;
  std::vector<Entry> entries_;    // [blocks]
  std::vector<int32_t> tokens_;   // [blocks, block_tokens]
  std::vector<int32_t> buckets_;  // a power of two of them; the first block of each
  uint64_t last_prefix_ = 0;
};

}  // namespace kraken
