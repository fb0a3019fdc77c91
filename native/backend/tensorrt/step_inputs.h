// A step's inputs as the engine takes them: six tensors of int32, packed one after another into one piece of
// pinned memory, so that one copy brings them to the device.
//
// A decode step may be padded to more sequences than it has, for a graph that was captured with that many:
// the sequences added have one token, no past, and write into a block that nobody reads.
#pragma once

#include <array>
#include <cstdint>

#include "backend/backend.h"

namespace kraken::tensorrt {

enum Input : size_t { kIds, kPositions, kSequenceBegins, kPastLengths, kBlockTables, kWantedRows, kInputs };
extern const std::array<const char*, kInputs> kInputNames;
inline constexpr const char* kLogitsName = "logits";

// Where each tensor lies for a step of these sizes.
struct InputLayout {
  InputLayout(int64_t tokens, int64_t sequences, int64_t rows, int64_t table_blocks);

  int64_t tokens, sequences, rows, table_blocks;  // T, S, B, P
  std::array<int64_t, kInputs> sizes;             // elements
  std::array<size_t, kInputs> offsets;            // bytes
  size_t bytes = 0;
};

// One token of each sequence, all of their logits wanted: what a captured graph can run.
bool is_decode_step(const StepBatch& batch);

// Rows a decode step of this many sequences is padded to: a power of two up to 8, then a quarter of one more
// at a time, so that at most a fifth of a large step is padding and few graphs serve all sizes.
int64_t decode_bucket(int64_t sequences, int64_t max_sequences);
std::vector<int64_t> decode_buckets(int64_t max_sequences);

// Fills `memory` (layout.bytes) for a batch with at most the layout's sizes. Where the batch has fewer
// sequences it must be a decode step. A batch that wants no rows gets its last.
void pack_inputs(const StepBatch& batch, const InputLayout& layout, int32_t scratch_block, std::byte* memory);

}  // namespace kraken::tensorrt
