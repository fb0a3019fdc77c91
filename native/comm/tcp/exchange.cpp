#include "comm/tcp/exchange.h"

#include <string>

#include "base/error.h"

namespace kraken {

Exchange::Exchange(int rank, int ranks, WireFormat format)
    : rank_(rank), ranks_(ranks), format_(format), received_(static_cast<size_t>(ranks)) {}

void Exchange::begin(std::span<const float* const> parts, int64_t rows, int64_t width) {
  began_ = std::chrono::steady_clock::now();
  count_ = rows * width;
  own_.resize(static_cast<size_t>(count_));
  if (shared()) sum_.resize(own_.size());  // another rank's share may come before this rank adds up its own
  add_up(parts, count_, own_.data());
  if (format_ == WireFormat::Float32) return;
  own_wire_.resize(static_cast<size_t>(wire_bytes(format_, count_)));
  round_to_wire(format_, own_.data(), count_, own_wire_.data());
}

std::span<const uint8_t> Exchange::wire_of(const std::vector<float>& values,
                                           const std::vector<uint8_t>& wire) const {
  if (format_ != WireFormat::Float32) return wire;
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

std::span<const uint8_t> Exchange::part_for(int rank) const {
  return wire_of(own_, own_wire_)
      .subspan(static_cast<size_t>(wire_bytes(format_, at(rank))),
               static_cast<size_t>(wire_bytes(format_, share(rank))));
}

std::span<const uint8_t> Exchange::sum() const {
  return wire_of(sum_, sum_wire_)
      .subspan(static_cast<size_t>(wire_bytes(format_, at(rank_))),
               static_cast<size_t>(wire_bytes(format_, share(rank_))));
}

// May come before begin(): reduce() sees whether it was as much as it must be.
uint8_t* Exchange::place_part(int rank, uint32_t bytes) {
  Received& received = received_[static_cast<size_t>(rank)];
  received.bytes = bytes;
  received.values.resize(bytes / static_cast<size_t>(format_));
  if (format_ == WireFormat::Float32 && bytes % sizeof(float) == 0) {
    return reinterpret_cast<uint8_t*>(received.values.data());
  }
  received.wire.resize(bytes);
  return received.wire.data();
}

void Exchange::part_came(int rank) {
  Received& received = received_[static_cast<size_t>(rank)];
  if (format_ == WireFormat::Float32) return;
  from_wire(format_, received.wire.data(), static_cast<int64_t>(received.values.size()),
            received.values.data());
}

uint8_t* Exchange::place_sum(int rank, uint32_t bytes) {
  Received& received = received_[static_cast<size_t>(rank)];
  check_bytes(rank, bytes, share(rank));
  if (format_ == WireFormat::Float32) return reinterpret_cast<uint8_t*>(sum_.data() + at(rank));
  received.wire.resize(bytes);
  return received.wire.data();
}

void Exchange::sum_came(int rank) {
  if (format_ == WireFormat::Float32) return;
  from_wire(format_, received_[static_cast<size_t>(rank)].wire.data(), share(rank), sum_.data() + at(rank));
}

void Exchange::reduce() {
  addends_.clear();
  for (int rank = 0; rank < ranks_; ++rank) {
    if (rank == rank_) {
      addends_.push_back(own_.data() + at(rank_));
      continue;
    }
    Received& received = received_[static_cast<size_t>(rank)];
    check_bytes(rank, received.bytes, share(rank_));
    addends_.push_back(received.values.data());
  }
  if (!shared()) return;
  float* own_share = sum_.data() + at(rank_);
  add_up(addends_, share(rank_), own_share);
  if (format_ != WireFormat::Float32) {
    sum_wire_.resize(static_cast<size_t>(wire_bytes(format_, count_)));
    round_to_wire(format_, own_share, share(rank_), sum_wire_.data() + wire_bytes(format_, at(rank_)));
  }
  addends_ = {sum_.data()};
}

void Exchange::check_bytes(int rank, uint32_t bytes, int64_t values) const {
  if (static_cast<int64_t>(bytes) == wire_bytes(format_, values)) return;
  throw Error("ERR_RANK_LOST", "rank " + std::to_string(rank) + " exchanged " + std::to_string(bytes) +
                                   " bytes where rank " + std::to_string(rank_) + " exchanged " +
                                   std::to_string(wire_bytes(format_, values)));
}

}  // namespace kraken
