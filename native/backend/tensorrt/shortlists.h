// A rank's shortlists of a step: asked for behind the step's own work, on the same stream, and copied to the
// host in place of logits. A hundred candidates are 1 KB of a row, where a vocabulary has 200.
#pragma once

#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/tensorrt/device.h"
#include "backend/tensorrt/plugins_library.h"

namespace kraken::tensorrt {

class Shortlists {
 public:
  // All of these outlive it. `ranks` that split the vocabulary.
  Shortlists(Device& device, const PluginsLibrary& plugins, kraken_communicator& communicator, int max_rows,
             int ranks);
  static size_t device_bytes(int max_rows, int ranks);

  // The same requests on all ranks; none: does nothing. logits [requests, columns].
  void enqueue(std::span<const ShortlistRequest> requests, const std::byte* logits, int64_t columns);
  // When the device has finished. `begin`: the token of the first column.
  void collect(int64_t begin);
  ShardShortlist of_row(int32_t row) const { return rows_[static_cast<size_t>(row)]; }

 private:
  Device& device_;
  const PluginsLibrary& plugins_;
  kraken_communicator& communicator_;
  Allocation requests_, maxima_, out_, pinned_requests_, pinned_out_;
  std::vector<ShardShortlist> rows_;   // of the last step
  std::vector<Candidate> candidates_;  // theirs
  int32_t capacity_ = 0;               // candidates of a row in pinned_out_
};

}  // namespace kraken::tensorrt
