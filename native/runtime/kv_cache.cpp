#include "runtime/kv_cache.h"

#include <algorithm>

#include "base/error.h"

namespace kraken {

IdleBlocks::IdleBlocks(int32_t blocks) : links_(static_cast<size_t>(blocks) + 1) {
  link(blocks) = {blocks, blocks};
}

void IdleBlocks::push(int32_t block) {
  const auto ring = static_cast<int32_t>(links_.size()) - 1;
  const int32_t last = link(ring).previous;
  link(block) = {last, ring};
  link(last).next = block;
  link(ring).previous = block;
  ++size_;
}

void IdleBlocks::remove(int32_t block) {
  const Link gone = link(block);
  link(gone.previous).next = gone.next;
  link(gone.next).previous = gone.previous;
  --size_;
}

KvCache::KvCache(int32_t blocks, int32_t block_tokens, bool reuse)
    : block_tokens_(block_tokens), idle_(reuse ? blocks : 0) {
  KRAKEN_CHECK(blocks > 0 && block_tokens > 0);
  references_.assign(static_cast<size_t>(blocks), 0);
  free_.reserve(static_cast<size_t>(blocks));
  for (int32_t block = blocks - 1; block >= 0; --block) free_.push_back(block);
  if (reuse) index_.emplace(blocks, block_tokens);
}

bool KvCache::grow(BlockTable& table, int64_t tokens) {
  const int32_t more = blocks_for(tokens) - table.size();
  if (more > free_blocks()) return false;
  for (int32_t i = 0; i < more; ++i) {
    const int32_t block = take_free();
    references_[static_cast<size_t>(block)] = 1;
    table.blocks_.push_back(block);
  }
  return true;
}

int32_t KvCache::take_free() {
  if (free_.empty()) {
    const int32_t block = idle_.oldest();
    idle_.remove(block);
    index_->erase(block);
    return block;
  }
  const int32_t block = free_.back();
  free_.pop_back();
  return block;
}

void KvCache::refer(int32_t block) {
  if (references_[static_cast<size_t>(block)]++ == 0) idle_.remove(block);
}

void KvCache::drop(int32_t block) {
  int32_t& references = references_[static_cast<size_t>(block)];
  KRAKEN_CHECK(references > 0);
  if (--references > 0) return;
  if (index_ && index_->contains(block)) {
    idle_.push(block);
  } else {
    free_.push_back(block);
  }
}

void KvCache::share(const BlockTable& from, int32_t count, BlockTable& to) {
  KRAKEN_CHECK(to.empty() && count <= from.size());
  for (int32_t i = 0; i < count; ++i) {
    const int32_t block = from.blocks_[static_cast<size_t>(i)];
    refer(block);
    to.blocks_.push_back(block);
  }
  to.remembered_ = std::min(count, from.remembered_);
}

std::span<const int32_t> KvCache::of_block(std::span<const int32_t> tokens, int32_t block) const {
  const auto width = static_cast<size_t>(block_tokens_);
  return tokens.subspan(static_cast<size_t>(block) * width, width);
}

int32_t KvCache::adopt(std::span<const int32_t> tokens, BlockTable& table) {
  KRAKEN_CHECK(table.empty());
  if (!index_) return 0;
  const auto full = static_cast<int32_t>(tokens.size()) / block_tokens_;
  int32_t last = PrefixIndex::kNone;
  while (table.size() < full) {
    last = index_->find(last, of_block(tokens, table.size()));
    if (last == PrefixIndex::kNone) break;
    refer(last);
    table.blocks_.push_back(last);
  }
  table.remembered_ = table.size();
  return table.size();
}

void KvCache::remember(std::span<const int32_t> computed, BlockTable& table) {
  if (!index_) return;
  const auto full = static_cast<int32_t>(computed.size()) / block_tokens_;
  for (int32_t& i = table.remembered_; i < full; ++i) {
    const int32_t parent = i == 0 ? PrefixIndex::kNone : table.blocks_[static_cast<size_t>(i - 1)];
    int32_t& own = table.blocks_[static_cast<size_t>(i)];
    const int32_t known = index_->find(parent, of_block(computed, i));
    if (known == PrefixIndex::kNone) {
      index_->insert(own, parent, of_block(computed, i));
    } else {
      refer(known);
      drop(own);
      own = known;
    }
  }
}

void KvCache::forget(BlockTable& table) {
  for (int32_t i = 0; i < table.remembered_; ++i) {
    const int32_t block = table.blocks_[static_cast<size_t>(i)];
    // Whoever else holds it extends it, and needs its number.
    if (references_[static_cast<size_t>(block)] == 1) index_->erase(block);
  }
  table.remembered_ = 0;
}

void KvCache::release(BlockTable& table) {
  for (size_t i = table.blocks_.size(); i-- > 0;) drop(table.blocks_[i]);
  table.blocks_.clear();
  table.remembered_ = 0;
}

}  // namespace kraken
