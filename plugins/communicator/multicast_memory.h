// Memory of every rank behind one address: a load from it gives the sum over all ranks, formed in the NVLink
// switch, a store goes to all. What kernels/all_reduce.h calls multimem runs on it. Each rank's memory has
// ordinary addresses on every other as well, so all the other algorithms work on the same buffers.
//
// The set-up is a sequence of steps that all ranks take together; where one of them fails, all undo what they
// have and go on without.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "communicator/driver_memory.h"
#include "communicator/rendezvous.h"

namespace kraken::plugins {

class MulticastMemory {
 public:
  // All ranks at once, those too that do not want it. Null on all ranks, and why, where it cannot be had:
  // ranks that share a device, a device or driver without it, a step that failed. Zeroed.
  static std::unique_ptr<MulticastMemory> make(const Rendezvous& rendezvous, int64_t bytes, bool wanted,
                                               std::string& problem);

  // A rank's memory, as this rank sees it.
  char* base(int32_t rank) const { return mappings_[static_cast<size_t>(rank)].data(); }
  char* multicast() const { return multicast_mapping_->data(); }

 private:
  class SetUp;
  MulticastMemory() = default;

  // Destruction goes backwards.
  std::optional<MulticastBinding> binding_;
  std::optional<Mapping> multicast_mapping_;
  std::deque<Mapping> mappings_;  // of each rank's memory
};

}  // namespace kraken::plugins
