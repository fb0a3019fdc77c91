// Communication among the ranks of one engine. One Communicator object per rank; all ranks make the same
// calls in the same order. Overlap is the contract: start() returns at once, wait() returns when the sum may
// be read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "comm/addends.h"

namespace kraken {

// A started exchange. Tickets of one rank are consecutive: the n-th start of every rank belongs together.
using Ticket = uint64_t;

// What an exchange gave, not yet added up. May be read until this rank calls start(ticket + kMaxInFlight).
struct Exchanged {
  // S_e: the same values in the same order on every rank, which makes their sums the same bits.
  Addends sum;
  // S_e again, for who takes his own part out: where other ranks' parts come separately, this rank's own are
  // as they were handed to start(), not as they are rounded for a network. Leaving one out is exact then.
  Addends join;
};

class Communicator {
 public:
  // A buffer handed to start(t) may be written again once this rank's wait(t + kMaxInFlight) has returned.
  // Rotating sent buffers over kExchangeDepth satisfies it: the payload of start(u) may be written from
  // wait(u - 2) on, which with one exchange in flight at a time is already right after start(u - 1) (proof:
  // comm/local/local_group.cpp).
  static constexpr int kExchangeDepth = 4;
  // At most this many exchanges started and not yet waited for, per rank.
  static constexpr int kMaxInFlight = 2;

  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Starts the sum over all ranks of `parts` (this rank's ways, each [rows, width] float32, all written
  // already).
  virtual Ticket start(std::span<const float* const> parts, int64_t rows, int64_t width) = 0;

  // Blocks until S of that ticket may be read. Tickets are waited for in order, each once.
  // Throws ERR_RANK_LOST after abort().
  virtual Exchanged wait(Ticket ticket) = 0;

  // Collects column slices: part is [rows, columns] of this rank, placed at column `begin` of full [rows,
  // total]. `full` is complete on rank 0 when this returns there; other ranks pass the same pointer if they
  // share memory.
  virtual void gather_columns(const float* part, int64_t rows, int64_t columns, int64_t begin, float* full,
                              int64_t total) = 0;

  virtual void barrier() = 0;

  // Copies `bytes` bytes of each rank to `all` of every rank, in the order of ranks, and returns nowhere
  // before all have come. For setting up what ranks do on their devices. Throws ERR_BACKEND_UNAVAILABLE
  // where there is no such thing.
  virtual void all_gather(const void* mine, void* all, size_t bytes);

  // Ends every present and future wait of every rank with ERR_RANK_LOST. Callable from any thread.
  virtual void abort(const std::string& reason) = 0;
  // Whether waits end so, for who waits elsewhere. Callable from any thread.
  virtual bool is_lost() { return false; }

  // Nanoseconds this rank has spent waiting in wait(), gather_columns() and barrier() since construction.
  virtual uint64_t exposed_nanoseconds() const = 0;
  // Nanoseconds from this rank's start() until every rank's part had arrived, hidden or not, over all
  // exchanges that were waited for; and how many those are.
  virtual uint64_t collective_nanoseconds() const = 0;
  // Of these nanoseconds, those in which the rank did something else. Less than the truth where waiting for
  // gathers and barriers cannot be told from waiting for exchanges.
  virtual uint64_t hidden_nanoseconds() const {
    const uint64_t exposed = exposed_nanoseconds(), all = collective_nanoseconds();
    return all > exposed ? all - exposed : 0;
  }
  virtual uint64_t exchanges() const = 0;
};

}  // namespace kraken
