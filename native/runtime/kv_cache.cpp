#include "runtime/kv_cache.h"

#include "base/error.h"

namespace kraken {

KvCache::KvCache(int32_t blocks, int32_t block_tokens) : block_tokens_(block_tokens) {
  KRAKEN_CHECK(blocks > 0 && block_tokens > 0);
  references_.assign(static_cast<size_t>(blocks), 0);
  free_.reserve(static_cast<size_t>(blocks));
  for (int32_t block = blocks - 1; block >= 0; --block) free_.push_back(block);
}

bool KvCache::grow(BlockTable& table, int64_t tokens) {
  const int32_t more = blocks_for(tokens) - table.size();
  if (more > free_blocks()) return false;
  for (int32_t i = 0; i < more; ++i) {
    const int32_t block = free_.back();
    free_.pop_back();
    references_[static_cast<size_t>(block)] = 1;
    table.blocks_.push_back(block);
  }
  return true;
}

void KvCache::share(const BlockTable& from, int32_t count, BlockTable& to) {
  KRAKEN_CHECK(to.empty() && count <= from.size());
  for (int32_t i = 0; i < count; ++i) {
    const int32_t block = from.blocks_[static_cast<size_t>(i)];
    ++references_[static_cast<size_t>(block)];
    to.blocks_.push_back(block);
  }
}

void KvCache::release(BlockTable& table) {
  for (size_t i = table.blocks_.size(); i-- > 0;) {
    const int32_t block = table.blocks_[i];
    int32_t& references = references_[static_cast<size_t>(block)];
    KRAKEN_CHECK(references > 0);
    if (--references == 0) free_.push_back(block);
  }
  table.blocks_.clear();
}

}  // namespace kraken
