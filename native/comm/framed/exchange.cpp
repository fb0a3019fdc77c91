#include "comm/framed/exchange.h"

#include <string>

#include "base/error.h"

namespace kraken {
namespace {

// Room for `size` elements. A buffer that has been larger is not filled again.
template <typename T>
T* grow(std::vector<T>& buffer, size_t size) {
  if (buffer.size() < size) buffer.resize(size);
  return buffer.data();
}

}  // namespace

Exchange::Exchange(int rank, int ranks, WireFormat format)
    : rank_(rank), ranks_(ranks), format_(format), received_(static_cast<size_t>(ranks)) {}

void Exchange::Terms::clear() {
  float32.clear();
  bfloat16.clear();
}

// Buffers of the wire are vectors' beginnings: aligned.
void Exchange::Terms::add(WireFormat format, const uint8_t* wire) {
  if (format == WireFormat::Float32) {
    float32.push_back(reinterpret_cast<const float*>(wire));
  } else {
    bfloat16.push_back(reinterpret_cast<const uint16_t*>(wire));
  }
}

void Exchange::begin(std::span<const float* const> parts, int64_t rows, int64_t width) {
  began_ = Clock::now();
  count_ = rows * width;
  grow(own_, bytes(count_));
  sum_.clear();
  join_.clear();
  if (shared()) {
    // Now, as another rank's share may come before this rank adds up its own.
    grow(total_, static_cast<size_t>(count_));
    grow(total_wire_, bytes(share(rank_)));
    sum_.float32.push_back(total_.data());
    join_.float32.push_back(total_.data());
  } else {
    join_.float32.assign(parts.begin(), parts.end());
  }
  add_to_wire(format_, parts, count_, own_.data());
}

std::span<const uint8_t> Exchange::part_for(int rank) const {
  return std::span(own_).subspan(bytes(at(rank)), bytes(share(rank)));
}

std::span<const uint8_t> Exchange::sum() const {
  return std::span(total_wire_).first(bytes(share(rank_)));
}

// May come before begin(): reduce() sees whether it was as much as it must be.
uint8_t* Exchange::place_part(int rank, uint32_t size) {
  Received& received = received_[static_cast<size_t>(rank)];
  received.part_bytes = size;
  return grow(received.part, size);
}

uint8_t* Exchange::place_sum(int rank, uint32_t size) {
  std::vector<uint8_t>& sum = received_[static_cast<size_t>(rank)].sum;
  check_bytes(rank, size, share(rank));
  return grow(sum, size);
}

void Exchange::sum_came(int rank) {
  const uint8_t* sum = received_[static_cast<size_t>(rank)].sum.data();
  add_from_wires(format_, {&sum, 1}, share(rank), total_.data() + at(rank));
}

void Exchange::reduce() {
  std::vector<const uint8_t*> wires;
  for (int rank = 0; rank < ranks_; ++rank) {
    const Received& received = received_[static_cast<size_t>(rank)];
    if (rank != rank_) check_bytes(rank, received.part_bytes, share(rank_));
    wires.push_back(rank == rank_ ? part_for(rank_).data() : received.part.data());
  }
  if (shared()) {
    add_from_wires(format_, wires, share(rank_), total_.data() + at(rank_), total_wire_.data());
    return;
  }
  for (int rank = 0; rank < ranks_; ++rank) {
    const uint8_t* wire = wires[static_cast<size_t>(rank)];
    sum_.add(format_, wire);
    if (rank != rank_) join_.add(format_, wire);
  }
}

void Exchange::check_bytes(int rank, size_t got, int64_t values) const {
  if (got == bytes(values)) return;
  throw Error("ERR_RANK_LOST", "rank " + std::to_string(rank) + " exchanged " + std::to_string(got) +
                                   " bytes where rank " + std::to_string(rank_) + " exchanged " +
                                   std::to_string(bytes(values)));
}

}  // namespace kraken
