// One exchange of a rank with those of other processes: its buffers and its arithmetic. Between two ranks
// each sends the other all it has (one hop), and nothing is added up here: the norm that wants the sum does
// it in passing, which saves this rank a pass over memory and a Kraken the rounding of its own part. Among
// more, each adds up a share of the elements, in order of the ranks, and sends everyone the sum: a
// reduce-scatter and an all-gather over direct connections. That is the traffic of a ring in two hops instead
// of 2·(ranks − 1), and every value is rounded twice instead of at every hop. What becomes of an element
// depends neither on its place nor on how many there are.
//
// The compute thread calls begin() and result(), whoever moves frames the rest.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/framed/wire_values.h"

namespace kraken {

class Exchange {
 public:
  using Clock = std::chrono::steady_clock;

  Exchange(int rank, int ranks, WireFormat format);

  // Adds up this rank's parts and rounds them for the wire.
  void begin(std::span<const float* const> parts, int64_t rows, int64_t width);
  // Once every part and sum has come.
  Exchanged result() const { return {sum_.view(), join_.view()}; }

  // What goes to another rank first, and to every other one after reduce().
  std::span<const uint8_t> part_for(int rank) const;
  std::span<const uint8_t> sum() const;

  // Room for what another rank sends, and that its sum is there. What is not as much as it must be makes
  // place_sum() and reduce() throw ERR_RANK_LOST.
  uint8_t* place_part(int rank, uint32_t bytes);
  uint8_t* place_sum(int rank, uint32_t bytes);
  void sum_came(int rank);
  // When a part or sum came, which may be long before anybody looked …
  void came(Clock::time_point at) { last_came_ = std::max(last_came_, at); }
  // … and how long after begin() the last one did.
  Clock::duration took() const { return std::max(last_came_ - began_, Clock::duration::zero()); }
  // How much of each that is.
  size_t part_bytes() const { return bytes(share(rank_)); }
  size_t sum_bytes(int rank) const { return bytes(share(rank)); }
  // When every part has come. Among more than two ranks, sum() is there then.
  void reduce();

 private:
  struct Terms {
    std::vector<const float*> float32;
    std::vector<const uint16_t*> bfloat16;
    Addends view() const { return {float32, bfloat16}; }
    void clear();
    void add(WireFormat format, const uint8_t* wire);
  };
  // As they come from another rank.
  struct Received {
    std::vector<uint8_t> part, sum;
    size_t part_bytes = 0;
  };
  // The elements a rank adds up: [first(rank), first(rank + 1)). Of two ranks, each adds up all.
  int64_t first(int rank) const { return count_ * rank / ranks_; }
  int64_t share(int rank) const { return shared() ? first(rank + 1) - first(rank) : count_; }
  int64_t at(int rank) const { return shared() ? first(rank) : 0; }
  bool shared() const { return ranks_ > 2; }
  size_t bytes(int64_t values) const { return static_cast<size_t>(wire_bytes(format_, values)); }
  void check_bytes(int rank, size_t got, int64_t values) const;

  const int rank_, ranks_;
  const WireFormat format_;
  int64_t count_ = 0;
  Clock::time_point began_, last_came_;

  // Each at least as long as it says.
  std::vector<uint8_t> own_;         // [count] for the wire
  std::vector<Received> received_;   // [ranks]
  std::vector<float> total_;         // [count]; not between two ranks
  std::vector<uint8_t> total_wire_;  // this rank's share of it
  Terms sum_, join_;
};

}  // namespace kraken
