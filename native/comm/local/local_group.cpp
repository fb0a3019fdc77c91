// Why kExchangeDepth = 2·kMaxInFlight slots (and buffers) are enough, and fewer are not:
//
//   (1) start(u) is only allowed when u − kMaxInFlight has been waited for, so a rank that enters start(u)
//   has
//       returned from wait(u − 2).
//   (2) wait(v) returns only after every rank has entered start(v), hence, by (1), has returned from wait(v −
//   2).
//
// A rank in start(u) has returned from wait(u − 2), so by (2) every rank has returned from wait(u − 4) and
// none looks at slot u − 4 again: slots may rotate over 4. With 3, a rank could overwrite slot u − 3 while
// another, which has started u − 2 but not yet waited for u − 3, still has to read it (communicator_test:
// SlotsSurviveTheFastestRank).
//
// The same argument carries the sent buffers. Addends of t may be read until the reader's start(t + 2); once
// wait(t + 2) has returned, every rank has entered start(t + 2) and no longer reads t's buffer. The payload
// of u = t + 4 may therefore be written as soon as wait(u − 2) has returned: before start(u − 1) if one
// exchange is in flight at a time. With 3 buffers it would overwrite t + 1, which a slower rank may still be
// reading.
#include "comm/local/local_group.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "comm/local/rendezvous.h"

namespace kraken {
namespace {

constexpr int kDepth = Communicator::kExchangeDepth;
static_assert(kDepth >= 2 * Communicator::kMaxInFlight);

using Time = EmulatedLink::Clock::time_point;

// A sleeping thread wakes this much too late at worst; the rest of a link's delay is spun.
constexpr std::chrono::microseconds kWakeUp{100};
// A sleeping thread looks this often whether the group was aborted.
constexpr std::chrono::milliseconds kLongestSleep{10};

uint64_t nanoseconds(EmulatedLink::Clock::duration duration) {
  return static_cast<uint64_t>(std::chrono::nanoseconds(duration).count());
}

struct Group {
  // What one rank says about one exchange.
  struct alignas(64) Slot {
    std::vector<const float*> parts;
    int64_t rows = 0, width = 0;
    Time started, arrives;
  };

  Group(int ranks, const LocalGroupOptions& wanted)
      : size(ranks), options(wanted), slots(size_t(kDepth) * size_t(ranks)), published(size_t(ranks)) {
    for (auto& arrivals : gathered) arrivals.resize(size_t(ranks));
  }

  Slot& slot(Ticket ticket, int rank) {
    return slots[static_cast<size_t>(ticket % kDepth) * static_cast<size_t>(size) +
                 static_cast<size_t>(rank)];
  }
  // Arrivals at the ticket's slot once all ranks have started it.
  uint32_t target(Ticket ticket) const {
    return static_cast<uint32_t>((ticket / kDepth + 1) * static_cast<Ticket>(size));
  }

  // Bytes an exchange of this many elements moves over a rank's link.
  double link_bytes(int64_t elements) const {
    return 2.0 * (size - 1) / size * static_cast<double>(elements) * options.bytes_per_element;
  }

  const int size;
  const LocalGroupOptions options;
  std::vector<Slot> slots;  // [kDepth, size]
  // [2, size]: when a rank's part of a gather arrives. A rank is at most one barrier ahead of another.
  std::vector<Time> gathered[2];
  std::vector<std::vector<std::byte>> published;  // [size]: the ranks' parts of an all_gather()
  Rendezvous started[kDepth];
  Rendezvous barrier;
  std::mutex mutex;
  std::string reason;  // of the abort; guarded by mutex
};

class LocalCommunicator final : public Communicator {
 public:
  LocalCommunicator(std::shared_ptr<Group> group, int rank)
      : group_(std::move(group)), rank_(rank), link_(group_->options.link) {}

  int rank() const override { return rank_; }
  int size() const override { return group_->size; }

  Ticket start(std::span<const float* const> parts, int64_t rows, int64_t width) override {
    KRAKEN_CHECK(started_ - waited_ < Ticket{kMaxInFlight});
    const Ticket ticket = started_++;
    Group::Slot& slot = group_->slot(ticket, rank_);
    slot.parts.assign(parts.begin(), parts.end());
    slot.rows = rows;
    slot.width = width;
    if (!group_->options.communication) return ticket;
    slot.started = Clock::now();
    slot.arrives = link_.send(group_->link_bytes(rows * width), slot.started);
    group_->started[ticket % kDepth].arrive(group_->target(ticket));
    return ticket;
  }

  Exchanged wait(Ticket ticket) override {
    KRAKEN_CHECK(ticket == waited_ && ticket < started_);
    const Group::Slot& own = group_->slot(ticket, rank_);
    if (!group_->options.communication) {
      ++waited_;
      const Addends alone{own.parts, {}};
      return {alone, alone};
    }
    uint64_t waited = await(group_->started[ticket % kDepth], group_->target(ticket));
    std::vector<const float*>& addends = addends_[ticket % kDepth];
    addends.clear();
    Time complete = own.started;
    for (int rank = 0; rank < group_->size; ++rank) {
      const Group::Slot& slot = group_->slot(ticket, rank);
      KRAKEN_CHECK(slot.rows == own.rows && slot.width == own.width && slot.parts.size() == own.parts.size());
      addends.insert(addends.end(), slot.parts.begin(), slot.parts.end());
      if (rank != rank_) complete = std::max(complete, slot.arrives);
    }
    waited += wait_until(complete, group_->started[ticket % kDepth]);
    const uint64_t took = nanoseconds(complete - own.started);
    collective_.fetch_add(took, std::memory_order_relaxed);
    hidden_.fetch_add(took > waited ? took - waited : 0, std::memory_order_relaxed);
    exchanges_.fetch_add(1, std::memory_order_relaxed);
    ++waited_;
    const Addends all{addends, {}};
    return {all, all};
  }

  void gather_columns(const float* part, int64_t rows, int64_t columns, int64_t begin, float* full,
                      int64_t total) override {
    KRAKEN_CHECK(begin >= 0 && columns >= 0 && begin + columns <= total);
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(full + row * total + begin, part + row * columns,
                  static_cast<size_t>(columns) * sizeof(float));
    }
    const double bytes = static_cast<double>(rows * columns) * sizeof(float);
    arrive_at_barrier([&](std::vector<Time>& arrivals) {
      if (rank_ != 0) arrivals[static_cast<size_t>(rank_)] = link_.send(bytes, Clock::now());
    });
    if (rank_ != 0) return;
    await_barrier();
    const std::vector<Time>& arrivals = arrivals_at_barrier();
    wait_until(*std::max_element(arrivals.begin(), arrivals.end()), group_->barrier);
  }

  void barrier() override {
    arrive_at_barrier([](std::vector<Time>&) {});
    await_barrier();
  }

  void all_gather(const void* mine, void* all, size_t bytes) override {
    const auto* from = static_cast<const std::byte*>(mine);
    group_->published[static_cast<size_t>(rank_)].assign(from, from + bytes);
    barrier();
    auto* to = static_cast<std::byte*>(all);
    for (const std::vector<std::byte>& part : group_->published) {
      KRAKEN_CHECK(part.size() == bytes);
      to = std::ranges::copy(part, to).out;
    }
    barrier();  // nobody reads them any more
  }

  void abort(const std::string& reason) override {
    {
      std::lock_guard lock(group_->mutex);
      if (group_->reason.empty()) group_->reason = reason.empty() ? "aborted" : reason;
    }
    for (Rendezvous& meeting : group_->started) meeting.abort();
    group_->barrier.abort();
  }

  bool is_lost() override { return group_->barrier.aborted(); }

  uint64_t exposed_nanoseconds() const override { return exposed_.load(std::memory_order_relaxed); }
  uint64_t collective_nanoseconds() const override { return collective_.load(std::memory_order_relaxed); }
  uint64_t hidden_nanoseconds() const override { return hidden_.load(std::memory_order_relaxed); }
  uint64_t exchanges() const override { return exchanges_.load(std::memory_order_relaxed); }

 private:
  using Clock = EmulatedLink::Clock;

  // Returns the nanoseconds it took. The clock is read only when there is something to wait for.
  uint64_t await(const Rendezvous& meeting, uint32_t target) {
    auto state = meeting.state(target);
    uint64_t waited = 0;
    if (state == Rendezvous::State::Pending) {
      const Time from = Clock::now();
      state = meeting.await(target);
      waited = nanoseconds(Clock::now() - from);
      exposed_.fetch_add(waited, std::memory_order_relaxed);
    }
    if (state == Rendezvous::State::Aborted) throw_lost();
    return waited;
  }

  // Until what an emulated link still carries has arrived; returns the nanoseconds that takes. The thread
  // sleeps, so that its core is free.
  uint64_t wait_until(Time arrival, const Rendezvous& meeting) {
    if (!group_->options.link.emulated()) return 0;
    const Time from = Clock::now();
    for (Time now = from; now < arrival; now = Clock::now()) {
      if (meeting.aborted()) throw_lost();
      if (arrival - now > kWakeUp) {
        std::this_thread::sleep_for(std::min<Clock::duration>(arrival - now - kWakeUp, kLongestSleep));
      }
    }
    const uint64_t waited = nanoseconds(std::max(arrival, from) - from);
    exposed_.fetch_add(waited, std::memory_order_relaxed);
    return waited;
  }

  [[noreturn]] void throw_lost() {
    std::lock_guard lock(group_->mutex);
    throw Error("ERR_RANK_LOST", "rank " + std::to_string(rank_) + " stopped waiting: " + group_->reason);
  }

  // Barriers are numbered, and rank n may leave a gather without waiting for it. It must not arrive at the
  // next one before the last is complete, or it would be counted twice in the same.
  template <typename BeforeArriving>
  void arrive_at_barrier(const BeforeArriving& before_arriving) {
    if (barriers_ > 0) await_barrier();
    ++barriers_;
    before_arriving(arrivals_at_barrier());
    group_->barrier.arrive(barrier_target());
  }
  std::vector<Time>& arrivals_at_barrier() { return group_->gathered[barriers_ % 2]; }
  void await_barrier() { await(group_->barrier, barrier_target()); }
  uint32_t barrier_target() const {
    return static_cast<uint32_t>(barriers_ * static_cast<uint64_t>(group_->size));
  }

  std::shared_ptr<Group> group_;
  const int rank_;
  Ticket started_ = 0, waited_ = 0;
  uint64_t barriers_ = 0;
  std::vector<const float*> addends_[kDepth];
  EmulatedLink link_;
  std::atomic<uint64_t> exposed_{0}, collective_{0}, hidden_{0}, exchanges_{0};
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_local_group(int size, const LocalGroupOptions& options) {
  KRAKEN_CHECK(size > 0);
  auto group = std::make_shared<Group>(size, options);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int rank = 0; rank < size; ++rank) ranks.push_back(std::make_unique<LocalCommunicator>(group, rank));
  return ranks;
}

}  // namespace kraken
