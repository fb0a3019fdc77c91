#include "runtime/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace kraken {
namespace {

// splitmix64's finaliser.
uint64_t scatter(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

PrefixIndex::PrefixIndex(int32_t blocks, int32_t block_tokens)
    : block_tokens_(block_tokens),
      entries_(static_cast<size_t>(blocks)),
      tokens_(static_cast<size_t>(blocks) * static_cast<size_t>(block_tokens)),
      buckets_(std::bit_ceil(static_cast<size_t>(blocks)), kNone) {}

int32_t PrefixIndex::find(int32_t parent, std::span<const int32_t> tokens) const {
  const uint64_t prefix = prefix_of(parent);
  int32_t block = buckets_[bucket_of(prefix, tokens)];
  while (block != kNone) {
    const Entry& entry = entries_[static_cast<size_t>(block)];
    if (entry.parent == prefix && std::ranges::equal(tokens_of(block), tokens)) break;
    block = entry.next;
  }
  return block;
}

void PrefixIndex::insert(int32_t block, int32_t parent, std::span<const int32_t> tokens) {
  KRAKEN_CHECK(!contains(block) && static_cast<int32_t>(tokens.size()) == block_tokens_);
  const uint64_t prefix = prefix_of(parent);
  int32_t& first = buckets_[bucket_of(prefix, tokens)];
  entries_[static_cast<size_t>(block)] = {++last_prefix_, prefix, first};
  first = block;
  std::ranges::copy(tokens, tokens_.begin() + int64_t{block} * block_tokens_);
}

void PrefixIndex::erase(int32_t block) {
  KRAKEN_CHECK(contains(block));
  Entry& entry = entries_[static_cast<size_t>(block)];
  int32_t* link = &buckets_[bucket_of(entry.parent, tokens_of(block))];
  while (*link != block) link = &entries_[static_cast<size_t>(*link)].next;
  *link = entry.next;
  entry = {};
}

uint64_t PrefixIndex::prefix_of(int32_t block) const {
  if (block == kNone) return 0;
  KRAKEN_CHECK(contains(block));
  return entries_[static_cast<size_t>(block)].prefix;
}

size_t PrefixIndex::bucket_of(uint64_t parent, std::span<const int32_t> tokens) const {
  uint64_t hash = scatter(parent + 0x9e3779b97f4a7c15u);
  for (const int32_t token : tokens) hash = scatter(hash ^ static_cast<uint32_t>(token));
  return static_cast<size_t>(hash) & (buckets_.size() - 1);
}

std::span<const int32_t> PrefixIndex::tokens_of(int32_t block) const {
  const auto width = static_cast<size_t>(block_tokens_);
  return {tokens_.data() + static_cast<size_t>(block) * width, width};
}

}  // namespace kraken
