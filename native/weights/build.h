// Cuts a checkpoint into the ranks' engine files: streams every weight through a small buffer, so a
// checkpoint larger than memory can be built.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/dtype.h"

namespace kraken {

struct BuildOptions {
  std::string config_json;   // ModelConfig
  std::string tensors_json;  // TensorView by canonical name
  int ranks = 1;
  DType dtype = DType::BFloat16;  // of matrices and tables (int8: tables are bfloat16); vectors stay float32
  std::string directory;          // exists; rank0.engine … are written here
  std::string extension = "engine";
};

// Called now and then with bytes written and bytes in all (any thread, one at a time); false cancels.
using BuildProgress = std::function<bool(uint64_t written, uint64_t total)>;

// Throws kraken::Error: ERR_RANKS, ERR_CHECKPOINT_*, ERR_IO; ERR_ABORTED when cancelled. Files may be
// incomplete then: the caller removes the directory.
void build_rank_files(const BuildOptions& options, const BuildProgress& progress);

}  // namespace kraken
