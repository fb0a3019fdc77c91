// The compute threads' side. Exchanges rotate over kExchangeDepth slots, as between threads, and for the same
// reason that is enough (comm/local/local_group.cpp): a frame of exchange u can only come when this rank has
// started u − 2, and hence no longer reads u − 4.
#include "comm/framed/framed_communicator.h"

#include <cstring>
#include <utility>

#include "base/error.h"

namespace kraken {
namespace {

uint64_t nanoseconds(std::chrono::steady_clock::duration duration) {
  return static_cast<uint64_t>(std::chrono::nanoseconds(duration).count());
}

// Goes before the values of a gather.
struct ColumnsHeader {
  int64_t rows, columns, begin;
};

}  // namespace

FramedCommunicator::FramedCommunicator(int rank, int size, std::unique_ptr<FrameTransport> transport,
                                       const FramedGroupOptions& options)
    : rank_(rank),
      size_(size),
      options_(options),
      transport_(std::move(transport)),
      peers_(static_cast<size_t>(size)),
      silent_(peers_.size()),
      columns_(peers_.size()),
      incoming_(peers_.size()) {
  KRAKEN_CHECK(rank >= 0 && rank < size_);
  for (int slot = 0; slot < kExchangeDepth; ++slot) {
    exchanges_in_flight_.emplace_back(rank, size_, options.wire);
  }
  if (alone()) return;
  next_beat_ = Clock::now() + options_.beat;
  thread_ = std::thread([this] { run(); });
}

FramedCommunicator::~FramedCommunicator() {
  leave();
  if (alone()) return;
  for (int rank = 0; rank < size_; ++rank) transport_->drop(rank);
  if (transport_->settled()) return;
  // What is under way to or from a rank that was lost may still be touched: it is never freed.
  new auto(std::move(exchanges_in_flight_));
  new auto(std::move(columns_));
  new auto(std::move(incoming_));
}

void FramedCommunicator::wake() {
  if (alone() || woken_.exchange(true)) return;
  transport_->wake();
}

// Once the group is lost, nothing but the farewell is sent: nobody's wait shall end as if this rank had come,
// and what fails because of the loss is nobody's reason.
void FramedCommunicator::order(int rank, FrameKind kind, uint64_t number, std::vector<uint8_t> payload) {
  if (reason_.empty()) orders_.push_back({rank, kind, number, std::move(payload)});
}

// What has come already may not have woken anybody. Once this thread counts, what comes does.
template <typename Over>
void FramedCommunicator::sleep_until(std::unique_lock<std::mutex>& lock, std::atomic<int>& sleepers,
                                     const Over& over) {
  const auto look = [&] {
    lock.unlock();
    receive_now();
    lock.lock();
    return over();
  };
  if (over() || look()) return;
  ++sleepers;
  if (!alone() && !transport_->shared()) wake();  // it is more urgent now
  if (!look()) changed_.wait(lock, over);
  --sleepers;
}

template <typename Done, typename Needs>
std::chrono::steady_clock::duration FramedCommunicator::await(std::unique_lock<std::mutex>& lock,
                                                              const Done& done, const Needs& needs) {
  int left = -1;
  const auto over = [&] {
    if (!reason_.empty() || done()) return true;
    for (int rank = 0; rank < size_ && left < 0; ++rank) {
      if (peers_[static_cast<size_t>(rank)].left && needs(rank)) left = rank;
    }
    return left >= 0;
  };
  Clock::duration waited{0};
  if (!over()) {
    const auto from = Clock::now();
    sleep_until(lock, waiting_, over);
    waited = Clock::now() - from;
  }
  const std::string who = "rank " + std::to_string(rank_) + " stopped waiting: ";
  if (!reason_.empty()) throw Error("ERR_RANK_LOST", who + reason_);
  if (left >= 0) throw Error("ERR_RANK_LOST", who + "rank " + std::to_string(left) + " has left");
  return waited;
}

template <typename Done, typename Needs>
void FramedCommunicator::await_collective(std::unique_lock<std::mutex>& lock, const Done& done,
                                          const Needs& needs) {
  exposed_.fetch_add(nanoseconds(await(lock, done, needs)), std::memory_order_relaxed);
}

Ticket FramedCommunicator::start(std::span<const float* const> parts, int64_t rows, int64_t width) {
  const Ticket ticket = waited_ + in_flight_;
  KRAKEN_CHECK(in_flight_ < kMaxInFlight);
  ++in_flight_;
  if (alone() || !options_.communication) {
    own_parts_[ticket % kExchangeDepth].assign(parts.begin(), parts.end());
    return ticket;
  }
  exchange(ticket).begin(parts, rows, width);
  {
    std::lock_guard lock(mutex_);
    started_ = ticket + 1;
  }
  send_now();
  return ticket;
}

Exchanged FramedCommunicator::wait(Ticket ticket) {
  std::unique_lock lock(mutex_);
  KRAKEN_CHECK(ticket == waited_ && in_flight_ > 0);
  if (alone() || !options_.communication) {
    await(
        lock, [] { return true; }, [](int) { return false; });  // throws once the group is lost
    ++waited_;
    --in_flight_;
    const Addends own{own_parts_[ticket % kExchangeDepth], {}};
    return {own, own};
  }
  await_collective(
      lock, [&] { return done_ > ticket; },
      [&](int rank) {
        const Peer& peer = peers_[static_cast<size_t>(rank)];
        return peer.parts <= ticket || (size_ > 2 && peer.sums <= ticket);
      });
  ++waited_;
  --in_flight_;
  return exchange(ticket).result();
}

void FramedCommunicator::gather_columns(const float* part, int64_t rows, int64_t columns, int64_t begin,
                                        float* full, int64_t total) {
  KRAKEN_CHECK(begin >= 0 && columns >= 0 && begin + columns <= total);
  if (rank_ != 0) {
    const ColumnsHeader header{rows, columns, begin};
    const size_t bytes = static_cast<size_t>(rows * columns) * sizeof(float);
    std::vector<uint8_t> payload(sizeof header + bytes);
    std::memcpy(payload.data(), &header, sizeof header);
    if (bytes > 0) std::memcpy(payload.data() + sizeof header, part, bytes);
    std::unique_lock lock(mutex_);
    await_collective(
        lock, [&] { return taken_ == gathers_; }, [](int rank) { return rank == 0; });
    order(0, FrameKind::Columns, gathers_++, std::move(payload));
    lock.unlock();
    return send_now();
  }
  const auto place = [&](const uint8_t* from, const ColumnsHeader& header) {
    for (int64_t row = 0; row < rows; ++row) {
      const size_t bytes = static_cast<size_t>(header.columns) * sizeof(float);
      std::memcpy(full + row * total + header.begin, from + static_cast<size_t>(row) * bytes, bytes);
    }
  };
  place(reinterpret_cast<const uint8_t*>(part), {rows, columns, begin});
  std::unique_lock lock(mutex_);
  for (int rank = 1; rank < size_; ++rank) {
    const auto index = static_cast<size_t>(rank);
    await_collective(
        lock, [&] { return peers_[index].columns > gathers_; }, [&](int other) { return other == rank; });
    lock.unlock();
    // Written again only when the rank has heard that this was taken.
    const std::vector<uint8_t>& payload = columns_[index];
    ColumnsHeader header{};
    if (payload.size() >= sizeof header) std::memcpy(&header, payload.data(), sizeof header);
    if (header.rows != rows || header.begin < 0 || header.columns < 0 ||
        header.columns > total - header.begin ||
        payload.size() != sizeof header + static_cast<size_t>(rows * header.columns) * sizeof(float)) {
      throw Error("ERR_RANK_LOST", "rank " + std::to_string(rank) + " gathers other columns than rank 0");
    }
    place(payload.data() + sizeof header, header);
    lock.lock();
    order(rank, FrameKind::ColumnsTaken, gathers_);
  }
  ++gathers_;
  lock.unlock();
  send_now();
}

void FramedCommunicator::barrier() {
  std::unique_lock lock(mutex_);
  if (rank_ != 0) {
    order(0, FrameKind::Arrived, barriers_);
    lock.unlock();
    send_now();
    lock.lock();
    await_collective(
        lock, [&] { return released_ > barriers_; }, [](int rank) { return rank == 0; });
    ++barriers_;
    return;
  }
  await_collective(
      lock,
      [&] {
        for (int rank = 1; rank < size_; ++rank) {
          if (peers_[static_cast<size_t>(rank)].arrivals <= barriers_) return false;
        }
        return true;
      },
      [&](int rank) { return peers_[static_cast<size_t>(rank)].arrivals <= barriers_; });
  for (int rank = 1; rank < size_; ++rank) order(rank, FrameKind::Released, barriers_);
  ++barriers_;
  lock.unlock();
  send_now();
}

void FramedCommunicator::all_gather(const void* mine, void* all, size_t bytes) {
  const auto* own = static_cast<const uint8_t*>(mine);
  const auto place = [&](int rank, const uint8_t* record) {
    if (bytes > 0) std::memcpy(static_cast<uint8_t*>(all) + static_cast<size_t>(rank) * bytes, record, bytes);
  };
  std::unique_lock lock(mutex_);
  for (int rank = 0; rank < size_; ++rank) {
    if (rank != rank_) order(rank, FrameKind::Record, all_gathers_, {own, own + bytes});
  }
  lock.unlock();
  send_now();
  place(rank_, own);
  lock.lock();
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == rank_) continue;
    auto& records = peers_[static_cast<size_t>(rank)].unread_records;
    await_collective(
        lock, [&] { return !records.empty(); }, [&](int other) { return other == rank; });
    const std::vector<uint8_t> record = std::move(records.front());
    records.pop_front();
    if (record.size() != bytes) {
      throw Error("ERR_RANK_LOST", "rank " + std::to_string(rank) + " gathers other records than rank " +
                                       std::to_string(rank_));
    }
    place(rank, record.data());
  }
  ++all_gathers_;
}

std::string FramedCommunicator::lost_because() {
  std::lock_guard lock(mutex_);
  return reason_;
}

void FramedCommunicator::abort(const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    if (reason_.empty()) reason_ = reason.empty() ? "aborted" : reason;
  }
  changed_.notify_all();
  wake();
}

void FramedCommunicator::post(int rank, std::vector<uint8_t> message) {
  {
    std::lock_guard lock(mutex_);
    order(rank, FrameKind::Message, 0, std::move(message));
  }
  send_now();
}

std::optional<std::vector<uint8_t>> FramedCommunicator::receive(int rank) {
  std::unique_lock lock(mutex_);
  Peer& peer = peers_[static_cast<size_t>(rank)];
  sleep_until(lock, receiving_, [&] { return !peer.messages.empty() || peer.left || !reason_.empty(); });
  if (peer.messages.empty()) {
    await(
        lock, [] { return true; }, [](int) { return false; });  // throws once the group is lost
    return std::nullopt;
  }
  std::vector<uint8_t> message = std::move(peer.messages.front());
  peer.messages.pop_front();
  return message;
}

void FramedCommunicator::leave() {
  {
    std::lock_guard lock(mutex_);
    leaving_ = true;
  }
  wake();
  std::lock_guard lock(leave_mutex_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace kraken
