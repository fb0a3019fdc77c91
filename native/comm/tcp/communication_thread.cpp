// The communication thread's side of TcpCommunicator.
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "comm/tcp/tcp_communicator.h"

namespace kraken {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLastWords{500};  // for the others to take what is unsent

[[noreturn]] void garbled(int rank) {
  throw Error("ERR_RANK_LOST", "rank " + std::to_string(rank) + " sent what cannot be");
}

int milliseconds_until(std::chrono::steady_clock::time_point when) {
  const auto left = std::chrono::ceil<milliseconds>(when - std::chrono::steady_clock::now());
  return static_cast<int>(std::max<int64_t>(0, left.count()));
}

}  // namespace

template <typename Action>
void TcpCommunicator::for_each_connection(const Action& action) {
  for (const auto& connection : connections_) {
    if (!connection) continue;
    at_ = connection->rank();
    action(*connection);
  }
}

void TcpCommunicator::run() noexcept {
  pthread_setname_np(pthread_self(), "kraken-comm");
  int lost_rank = rank_;
  try {
    while (turn()) {
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
  try {
    take_orders();  // what was posted before abort() is sent
    say_farewell(reason.empty() ? FrameKind::Left : FrameKind::Aborted, reason);
  } catch (const std::exception&) {  // they will see the end of the connection
  }
  for_each_connection([](Connection& connection) { connection.close(); });
}

bool TcpCommunicator::turn() {
  take_orders();
  {
    std::lock_guard lock(mutex_);
    if (!reason_.empty()) return false;
    if (leaving_ && orders_.empty() && sent_ == started_) return false;
  }
  for_each_connection([](Connection& connection) { connection.send_some(); });
  wait_for_sockets();
  if (Clock::now() >= next_beat_) beat();
  return true;
}

void TcpCommunicator::take_orders() {
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
    const auto& to = connections_[static_cast<size_t>(order.rank)];
    if (to) to->queue_owned(order.kind, order.number, std::move(order.payload));
  }
  advance();
}

// Frames of one rank come in order, so exchanges are reduced and finished in order, too.
void TcpCommunicator::advance() {
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
    const auto took = Clock::now() - exchange(finished_).began();
    collective_ += static_cast<uint64_t>(std::chrono::nanoseconds(took).count());
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
size_t TcpCommunicator::due_from(int rank) {
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

void TcpCommunicator::wait_for_sockets() {
  std::vector<pollfd> polled{{wake_reader_.get(), POLLIN, 0}};
  std::vector<int> ranks{-1};
  for_each_connection([&](Connection& connection) {
    connection.wake_after(due_from(connection.rank()));
    const int events = POLLIN | (connection.unsent() ? POLLOUT : 0);
    polled.push_back({connection.fd(), static_cast<short>(events), 0});
    ranks.push_back(connection.rank());
  });
  if (poll(polled.data(), polled.size(), milliseconds_until(next_beat_)) < 0 && errno != EINTR) {
    throw Error("ERR_RANK_LOST", std::string("poll: ") + std::strerror(errno));
  }
  if (polled[0].revents != 0) {
    uint8_t bytes[64];
    while (read(wake_reader_.get(), bytes, sizeof bytes) > 0) {
    }
  }
  for (size_t i = 1; i < polled.size(); ++i) {
    if (polled[i].revents & (POLLIN | POLLHUP | POLLERR)) receive_from(ranks[i]);
  }
  advance();
}

void TcpCommunicator::receive_from(int rank) {
  const auto index = static_cast<size_t>(rank);
  at_ = rank;
  const bool open = connections_[index]->receive_some(*this);
  bool left = false;
  {
    std::lock_guard lock(mutex_);
    left = peers_[index].left;
  }
  if (left) {
    connections_[index]->close();
    connections_[index].reset();
  } else if (!open) {
    throw Error("ERR_RANK_LOST", "rank " + std::to_string(rank) + " (" + connections_[index]->name() +
                                     ") closed its connection");
  }
}

// Whoever ends the group has said why before; what another rank says because of it may be heard first.
void TcpCommunicator::receive_rest(int lost_rank) {
  for (int rank = 0; rank < size_; ++rank) {
    if (rank == lost_rank || !connections_[static_cast<size_t>(rank)]) continue;
    try {
      receive_from(rank);
    } catch (const Error&) {  // the first reason counts
    }
  }
}

// Beats are counted, not time: while this process itself is stopped, it hears nobody.
void TcpCommunicator::beat() {
  next_beat_ = Clock::now() + options_.beat;
  for (int rank = 0; rank < size_; ++rank) {  // what has come may be too little to be woken for
    if (connections_[static_cast<size_t>(rank)]) receive_from(rank);
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
    if (!connection.take_sent() && !connection.unsent()) connection.queue(FrameKind::Beat, 0, {});
  });
}

// Sent in full before the connections end: closing one that has something unread resets it, and what was sent
// last would be lost with it. So this waits for the others to close, for a while.
void TcpCommunicator::say_farewell(FrameKind kind, const std::string& reason) {
  const auto until = Clock::now() + kLastWords;
  for_each_connection([&](Connection& connection) {
    connection.queue_owned(kind, 0, std::vector<uint8_t>(reason.begin(), reason.end()));
  });
  std::vector<bool> ended(connections_.size());
  std::vector<pollfd> polled;
  do {
    polled.clear();
    for_each_connection([&](Connection& connection) {
      const auto index = static_cast<size_t>(connection.rank());
      if (ended[index]) return;
      try {
        connection.send_some();
        if (!connection.unsent()) shutdown(connection.fd(), SHUT_WR);
        uint8_t dropped[4096];
        ssize_t got = 0;
        while ((got = recv(connection.fd(), dropped, sizeof dropped, MSG_DONTWAIT)) > 0) {
        }
        ended[index] = got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
      } catch (const Error&) {
        ended[index] = true;
      }
      if (ended[index]) return;
      const int events = POLLIN | (connection.unsent() ? POLLOUT : 0);
      polled.push_back({connection.fd(), static_cast<short>(events), 0});
    });
    if (!polled.empty()) poll(polled.data(), polled.size(), milliseconds_until(until));
  } while (!polled.empty() && Clock::now() < until);
}

uint8_t* TcpCommunicator::place(int rank, const FrameHeader& header) {
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

void TcpCommunicator::complete(int rank, const FrameHeader& header) {
  const auto index = static_cast<size_t>(rank);
  if (header.bytes == 0 && (header.kind == FrameKind::Part || header.kind == FrameKind::Sum)) {
    place(rank, header);  // an empty share
  }
  if (header.kind == FrameKind::Sum) exchange(header.number).sum_came(rank);
  std::vector<uint8_t> message;
  if (header.kind == FrameKind::Message || header.kind == FrameKind::Record) message.swap(incoming_[index]);
  const auto count = [&](uint64_t& counter) {
    if (header.number != counter++) garbled(rank);
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
    throw Error("ERR_RANK_LOST", "rank " + std::to_string(rank) + " (" + connection(rank).name() +
                                     ") stopped: " + std::string(why.begin(), why.end()));
  }
  changed_.notify_all();
}

}  // namespace kraken
