#include "backend/tensorrt/step_inputs.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace kraken::tensorrt {
namespace {

constexpr size_t kAlignment = 256;  // of device addresses

}  // namespace

const std::array<const char*, kInputs> kInputNames = {"ids",          "positions",    "sequence_begins",
                                                      "past_lengths", "block_tables", "wanted_rows"};

InputLayout::InputLayout(int64_t t, int64_t s, int64_t b, int64_t p)
    : tokens(t), sequences(s), rows(b), table_blocks(p), sizes{t, t, s + 1, s, s * p, b} {
  for (size_t input = 0; input < kInputs; ++input) {
    offsets[input] = bytes;
    const size_t size = static_cast<size_t>(sizes[input]) * sizeof(int32_t);
    bytes += (size + kAlignment - 1) / kAlignment * kAlignment;
  }
}

bool is_decode_step(const StepBatch& batch) {
  const size_t count = batch.sequences.size();
  return batch.tokens.size() == count && batch.wanted_rows.size() == count;
}

int64_t decode_bucket(int64_t sequences, int64_t max_sequences) {
  const auto power = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(sequences)));
  const int64_t grain = std::max<int64_t>(8, power / 8);
  const int64_t bucket = power <= 8 ? power : (sequences + grain - 1) / grain * grain;
  return std::min(bucket, max_sequences);
}

std::vector<int64_t> decode_buckets(int64_t max_sequences) {
  std::vector<int64_t> buckets;
  for (int64_t next = 1; next <= max_sequences; next = buckets.back() + 1) {
    buckets.push_back(decode_bucket(next, max_sequences));
  }
  return buckets;
}

void pack_inputs(const StepBatch& batch, const InputLayout& layout, int32_t scratch_block,
                 std::byte* memory) {
  const auto tokens = static_cast<int64_t>(batch.tokens.size());
  const auto sequences = static_cast<int64_t>(batch.sequences.size());
  const auto wanted = static_cast<int64_t>(batch.wanted_rows.size());
  const int64_t padding = layout.sequences - sequences;
  KRAKEN_CHECK(padding >= 0 && layout.tokens == tokens + padding);
  KRAKEN_CHECK(layout.rows == std::max<int64_t>(wanted + padding, 1));
  KRAKEN_CHECK(padding == 0 || is_decode_step(batch));

  const auto input = [&](Input name) { return reinterpret_cast<int32_t*>(memory + layout.offsets[name]); };
  int32_t* ids = std::ranges::copy(batch.tokens, input(kIds)).out;
  std::fill_n(ids, padding, 0);
  int32_t* positions = std::ranges::copy(batch.positions, input(kPositions)).out;
  std::fill_n(positions, padding, 0);

  int32_t *begins = input(kSequenceBegins), *past = input(kPastLengths), *table = input(kBlockTables);
  for (const StepBatch::Sequence& sequence : batch.sequences) {
    *begins++ = sequence.begin;
    *past++ = sequence.past;
    const auto blocks = static_cast<int64_t>(sequence.blocks.size());
    KRAKEN_CHECK(blocks <= layout.table_blocks);
    std::ranges::copy(sequence.blocks, table);
    std::fill_n(table + blocks, layout.table_blocks - blocks, scratch_block);  // never read
    table += layout.table_blocks;
  }
  std::fill_n(past, padding, 0);
  std::fill_n(table, padding * layout.table_blocks, scratch_block);
  for (int64_t begin = tokens; begin <= layout.tokens; ++begin) *begins++ = static_cast<int32_t>(begin);

  int32_t* rows = std::ranges::copy(batch.wanted_rows, input(kWantedRows)).out;
  for (int64_t row = wanted; row < layout.rows; ++row) {
    *rows++ = static_cast<int32_t>(layout.tokens - (layout.rows - row));
  }
}

}  // namespace kraken::tensorrt
