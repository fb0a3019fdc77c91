// The communication thread's side of FramedCommunicator.
#include <pthread.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "comm/framed/framed_communicator.h"

namespace kraken {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLastWords{500};  // for the others to take what is unsent

[[noreturn]] void garbled(int rank) {
  throw Error("ERR_RANK_LOST", "rank " + std::to_string(rank) + " sent what cannot be");
}

}  // namespace

template <typename Action>
void FramedCommunicator::for_each_connection(const Action& action) {
  for (int rank = 0; rank < size_; ++rank) {
    Connection* connection = transport_->to(rank);
    if (connection == nullptr) continue;
    at_ = rank;
    action(*connection);
  }
}

void FramedCommunicator::run() noexcept {
  pthread_setname_np(pthread_self(), "kraken-comm");
  std::unique_lock connections(connections_mutex_);
  int lost_rank = rank_;
  try {
    while (turn(connections)) {
    }
  } catch (const std::exception& error) {
    lost_rank = at_;
    abort(error.what());
    receive_rest(lost_rank);
  }
  std::string reason;
  {
    std::lock_guard lock(mutex_);
    reason = reason_;
  }
  if (!reason.empty()) options_.on_lost(lost_rank);  // first: its waits are to end as soon as ours
  over_ = true;
  try {
    take_orders();  // what was posted before abort() is sent
    say_farewell(reason.empty() ? FrameKind::Left : FrameKind::Aborted, reason, connections);
  } catch (const std::exception&) {  // they will see the end of the connection
  }
  for_each_connection([](Connection& connection) { connection.close(); });
}

bool FramedCommunicator::turn(std::unique_lock<std::mutex>& connections) {
  take_orders();
  {
    std::lock_guard lock(mutex_);
    if (!reason_.empty()) return false;
    if (leaving_ && orders_.empty() && sent_ == started_) return false;
  }
  for_each_connection([](Connection& connection) { connection.send_some(); });
  listen(connections);
  if (Clock::now() >= next_beat_) beat();
  return true;
}

template <typename Turn>
void FramedCommunicator::take_turn(std::unique_lock<std::mutex> connections, const Turn& turn) noexcept {
  if (over_ || failure_) return;
  bool unsent = false;
  try {
    turn();
    for_each_connection([&](Connection& connection) {
      connection.send_some();
      unsent = unsent || connection.unsent();
      choose_when_to_wake(connection);
    });
  } catch (...) {
    failure_ = std::current_exception();
  }
  const bool left = unsent || failure_;
  connections.unlock();
  if (left) wake();
}

void FramedCommunicator::send_now() {
  if (alone()) return;
  std::unique_lock connections(connections_mutex_, std::defer_lock);
  // Whoever has them may have looked for orders already.
  if (!transport_->shared() || !connections.try_lock()) return wake();
  take_turn(std::move(connections), [this] { take_orders(); });
}

void FramedCommunicator::receive_now() {
  if (alone() || !transport_->shared()) return;
  // That one is closed wakes the communication thread in any case.
  take_turn(std::unique_lock(connections_mutex_), [this] {
    for_each_connection([this](Connection& from) { from.receive_some(*this); });
    advance();
  });
}

void FramedCommunicator::take_orders() {
  woken_ = false;  // before looking: what is ordered from here on wakes again
  std::vector<Order> orders;
  Ticket started = 0;
  {
    std::lock_guard lock(mutex_);
    orders.swap(orders_);
    started = started_;
  }
  for (; sent_ < started; ++sent_) {
    const Exchange& begun = exchange(sent_);
    for_each_connection([&](Connection& to) { to.queue(FrameKind::Part, sent_, begun.part_for(to.rank())); });
  }
  for (Order& order : orders) {
    Connection* to = transport_->to(order.rank);
    if (to != nullptr) to->queue_owned(order.kind, order.number, std::move(order.payload));
  }
  advance();
}

// Frames of one rank come in order, so exchanges are reduced and finished in order, too.
void FramedCommunicator::advance() {
  const auto came = [&](uint64_t Peer::*counter, Ticket ticket) {
    std::lock_guard lock(mutex_);
    for (int rank = 0; rank < size_; ++rank) {
      if (rank != rank_ && peers_[static_cast<size_t>(rank)].*counter <= ticket) return false;
    }
    return true;
  };
  for (; reduced_ < sent_ && came(&Peer::parts, reduced_); ++reduced_) {
    Exchange& reduced = exchange(reduced_);
    reduced.reduce();
    if (size_ <= 2) continue;
    for_each_connection([&](Connection& to) { to.queue(FrameKind::Sum, reduced_, reduced.sum()); });
  }
  for (; finished_ < reduced_ && (size_ <= 2 || came(&Peer::sums, finished_)); ++finished_) {
    collective_ += static_cast<uint64_t>(std::chrono::nanoseconds(exchange(finished_).took()).count());
    ++exchanges_;
    {
      std::lock_guard lock(mutex_);
      done_ = finished_ + 1;
    }
    changed_.notify_all();
  }
}

// Nothing else of consequence comes before it: its sender is in the same exchange. What ends it closes the
// connection, too, which wakes, and beats look in any case.
size_t FramedCommunicator::due_from(int rank) {
  uint64_t parts = 0, sums = 0;
  {
    std::lock_guard lock(mutex_);
    parts = peers_[static_cast<size_t>(rank)].parts;
    sums = peers_[static_cast<size_t>(rank)].sums;
  }
  const size_t part = parts < sent_ ? exchange(parts).part_bytes() : 0;
  const size_t sum = size_ > 2 && sums < sent_ ? exchange(sums).sum_bytes(rank) : 0;
  return part != 0 && sum != 0 ? std::min(part, sum) : part + sum;  // either may be the next
}

Urgency FramedCommunicator::urgency() const {
  if (waiting_ > 0) return Urgency::Waited;
  if (finished_ < sent_) return Urgency::Hidden;
  for (int rank = 0; rank < size_; ++rank) {
    const Connection* connection = transport_->to(rank);
    if (connection != nullptr && connection->unsent()) return Urgency::Hidden;
  }
  return receiving_ > 0 ? Urgency::Idle : Urgency::None;
}

// Among more than two ranks, others wait for this one's share of the sum before anybody here does.
void FramedCommunicator::choose_when_to_wake(Connection& connection) {
  if (size_ == 2 && waiting_ == 0 && receiving_ == 0) {
    connection.wake_when_filling();
  } else {
    connection.wake_after(due_from(connection.rank()));
  }
}

void FramedCommunicator::listen(std::unique_lock<std::mutex>& connections) {
  for_each_connection([this](Connection& connection) { choose_when_to_wake(connection); });
  const std::vector<int> ready = transport_->wait(next_beat_, urgency(), connections);
  if (failure_) std::rethrow_exception(failure_);
  for (const int rank : ready) receive_from(rank);
  advance();
}

void FramedCommunicator::receive_from(int rank) {
  at_ = rank;
  Connection& connection = *transport_->to(rank);
  const bool open = connection.receive_some(*this);
  bool left = false;
  {
    std::lock_guard lock(mutex_);
    left = peers_[static_cast<size_t>(rank)].left;
  }
  if (left) {
    connection.close();
    transport_->drop(rank);
  } else if (!open) {
    throw Error("ERR_RANK_LOST",
                "rank " + std::to_string(rank) + " (" + connection.name() + ") closed its connection");
  }
}

// Whoever ends the group has said why before; what another rank says because of it may be heard first.
void FramedCommunicator::receive_rest(int lost_rank) {
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == lost_rank || transport_->to(rank) == nullptr) continue;
    try {
      receive_from(rank);
    } catch (const Error&) {  // the first reason counts
    }
  }
}

// Beats are counted, not time: while this process itself is stopped, it hears nobody.
void FramedCommunicator::beat() {
  next_beat_ = Clock::now() + options_.beat;
  for (int rank = 0; rank < size_; ++rank) {  // what has come may be too little to be woken for
    if (transport_->to(rank) != nullptr) receive_from(rank);
  }
  advance();
  for_each_connection([&](Connection& connection) {
    int& silent = silent_[static_cast<size_t>(connection.rank())];
    silent = connection.take_heard() ? 0 : silent + 1;
    if (silent >= options_.missed_beats) {
      throw Error("ERR_RANK_LOST", "rank " + std::to_string(connection.rank()) + " (" + connection.name() +
                                       ") has given no sign of life for " +
                                       std::to_string((options_.beat * silent).count()) +
                                       " ms: its host or the way there is lost, or it was stopped");
    }
    connection.beat();
  });
}

// Waits for the others to end, too, for a while: until then, what was sent last may not have come.
void FramedCommunicator::say_farewell(FrameKind kind, const std::string& reason,
                                      std::unique_lock<std::mutex>& connections) {
  const auto until = Clock::now() + kLastWords;
  for_each_connection([&](Connection& connection) {
    connection.queue_owned(kind, 0, std::vector<uint8_t>(reason.begin(), reason.end()));
  });
  for (bool all = false; !all && Clock::now() < until;) {
    all = true;
    for_each_connection([&](Connection& connection) {
      bool ended = true;
      try {
        ended = connection.finish();
      } catch (const Error&) {  // broken: there is nobody to wait for
      }
      if (ended) {
        connection.close();
        transport_->drop(connection.rank());
      }
      all = all && ended;
    });
    if (!all) transport_->wait(until, Urgency::Hidden, connections);
  }
}

uint8_t* FramedCommunicator::place(int rank, const FrameHeader& header) {
  const auto index = static_cast<size_t>(rank);
  switch (header.kind) {
    case FrameKind::Part:
      // It started this one after hearing of this rank's start of the one two before.
      if (header.number > sent_ + 1 || header.number < finished_) garbled(rank);
      return exchange(header.number).place_part(rank, header.bytes);
    case FrameKind::Sum:
      if (header.number >= sent_ || header.number < finished_ || size_ <= 2) garbled(rank);
      return exchange(header.number).place_sum(rank, header.bytes);
    case FrameKind::Columns:
      columns_[index].resize(header.bytes);
      return columns_[index].data();
    case FrameKind::Record:
    case FrameKind::Message:
    case FrameKind::Aborted:
      incoming_[index].resize(header.bytes);
      return incoming_[index].data();
    default:
      garbled(rank);
  }
}

void FramedCommunicator::complete(int rank, const FrameHeader& header) {
  const auto index = static_cast<size_t>(rank);
  if (header.kind == FrameKind::Part || header.kind == FrameKind::Sum) {
    if (header.bytes == 0) place(rank, header);  // an empty share
    exchange(header.number).came(transport_->to(rank)->came());
  }
  if (header.kind == FrameKind::Sum) exchange(header.number).sum_came(rank);
  std::vector<uint8_t> message;
  if (header.kind == FrameKind::Message || header.kind == FrameKind::Record) message.swap(incoming_[index]);
  const auto count = [&](uint64_t& counter) {
    if (header.number != counter) garbled(rank);
    ++counter;
  };
  {
    std::lock_guard lock(mutex_);
    Peer& peer = peers_[index];
    switch (header.kind) {
      case FrameKind::Part:
        return count(peer.parts);  // the thread looks by itself
      case FrameKind::Sum:
        return count(peer.sums);
      case FrameKind::Beat:
        return;
      case FrameKind::Columns:
        count(peer.columns);
        break;
      case FrameKind::Arrived:
        count(peer.arrivals);
        break;
      case FrameKind::ColumnsTaken:
        if (rank != 0) garbled(rank);
        count(taken_);
        break;
      case FrameKind::Released:
        if (rank != 0) garbled(rank);
        count(released_);
        break;
      case FrameKind::Record:
        count(peer.records);
        if (peer.unread_records.size() > 1) garbled(rank);
        peer.unread_records.push_back(std::move(message));
        break;
      case FrameKind::Message:
        peer.messages.push_back(std::move(message));
        break;
      case FrameKind::Left:
        peer.left = true;
        break;
      case FrameKind::Aborted:
        break;
    }
  }
  if (header.kind == FrameKind::Aborted) {
    const std::vector<uint8_t>& why = incoming_[index];
    throw Error("ERR_RANK_LOST", "rank " + std::to_string(rank) + " (" + transport_->to(rank)->name() +
                                     ") stopped: " + std::string(why.begin(), why.end()));
  }
  changed_.notify_all();
}

}  // namespace kraken
