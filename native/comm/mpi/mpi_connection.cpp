#include "comm/mpi/mpi_connection.h"

#include <cstring>
#include <thread>

#include "base/error.h"
#include "comm/mpi/mpi_world.h"

namespace kraken {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::microseconds kLook{20};

// Where frames go that nobody wants any more.
class Discard final : public FrameSink {
 public:
  uint8_t* place(int, const FrameHeader& header) override {
    bytes_.resize(header.bytes);
    return bytes_.data();
  }
  void complete(int, const FrameHeader&) override {}

 private:
  std::vector<uint8_t> bytes_;
};

}  // namespace

MpiConnection::MpiConnection(const MpiChannel& channel, int rank, std::string name)
    : Connection(rank, std::move(name)), channel_(channel) {
  expect_header();
  expect_beat();
}

void MpiConnection::expect_header() {
  large_ = false;
  check_mpi(MPI_Irecv(incoming_.data(), static_cast<int>(incoming_.size()), MPI_BYTE, rank(), channel_.tag,
                      channel_.communicator, &receiving_),
            "MPI_Irecv");
}

void MpiConnection::expect_beat() {
  beat_came_ = false;
  check_mpi(MPI_Irecv(nullptr, 0, MPI_BYTE, rank(), channel_.tag + 1, channel_.communicator, &beating_),
            "MPI_Irecv");
}

void MpiConnection::send(const void* bytes, size_t count, MPI_Request& request) const {
  check_mpi(MPI_Isend(bytes, static_cast<int>(count), MPI_BYTE, rank(), channel_.tag, channel_.communicator,
                      &request),
            "MPI_Isend");
}

void MpiConnection::send_nothing(int tag) const {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Isend(nullptr, 0, MPI_BYTE, rank(), tag, channel_.communicator, &request), "MPI_Isend");
  MPI_Request_free(&request);  // it has no memory that would have to stay
}

void MpiConnection::send_some() {
  while (sending_.size() < outgoing_.size()) {
    Outgoing& frame = outgoing_[sending_.size()];
    Sending& sending = sending_.emplace_back();
    if (frame.payload.size() > kSmall) {
      send(&frame.header, sizeof frame.header, sending.header);
      send(frame.payload.data(), frame.payload.size(), sending.payload);
      continue;
    }
    sending.small.resize(sizeof frame.header + frame.payload.size());
    std::memcpy(sending.small.data(), &frame.header, sizeof frame.header);
    std::copy(frame.payload.begin(), frame.payload.end(), sending.small.begin() + sizeof frame.header);
    send(sending.small.data(), sending.small.size(), sending.header);
  }
  look();
}

bool MpiConnection::look() {
  enum { Receiving, Beating, Header, Payload, kRequests };
  MPI_Request requests[kRequests] = {receiving_, beating_, MPI_REQUEST_NULL, MPI_REQUEST_NULL};
  Sending* first = sending_.empty() ? nullptr : &sending_.front();
  if (first != nullptr) {
    requests[Header] = first->header;
    requests[Payload] = first->payload;
  }
  int count = 0, indices[kRequests];
  MPI_Status statuses[kRequests];
  check_mpi(MPI_Testsome(kRequests, requests, &count, indices, statuses), "MPI_Testsome");
  if (count == MPI_UNDEFINED || count == 0) return came_ >= 0 || beat_came_;
  receiving_ = requests[Receiving];
  beating_ = requests[Beating];
  for (int i = 0; i < count; ++i) {
    if (indices[i] == Receiving) MPI_Get_count(&statuses[i], MPI_BYTE, &came_);
    if (indices[i] == Beating) beat_came_ = true;
  }
  if (first == nullptr) return true;
  first->header = requests[Header];
  first->payload = requests[Payload];
  if (first->header == MPI_REQUEST_NULL && first->payload == MPI_REQUEST_NULL) {
    sending_.pop_front();
    outgoing_.pop_front();
  }
  return true;
}

bool MpiConnection::receive_some(FrameSink& sink) {
  do {
    if (beat_came_) {
      heard_ = true;
      expect_beat();
    }
    if (came_ >= 0) take(sink);
  } while (!ended_ && look());
  return !ended_;
}

// The next message is expected before this one is passed on: who takes it may throw.
void MpiConnection::take(FrameSink& sink) {
  const auto came = static_cast<size_t>(std::exchange(came_, -1));
  heard_ = true;
  if (large_) {
    if (came != header_.bytes) broken("it sent what cannot be");
    expect_header();
    return sink.complete(rank(), header_);
  }
  if (came == 0) {
    ended_ = true;
    return;
  }
  if (came < sizeof header_) broken("it sent what cannot be");
  std::memcpy(&header_, incoming_.data(), sizeof header_);
  check_header(header_);
  const bool small = header_.bytes <= kSmall;
  if (came != sizeof header_ + (small ? header_.bytes : 0)) broken("it sent what cannot be");
  uint8_t* payload = header_.bytes > 0 ? sink.place(rank(), header_) : nullptr;
  if (!small) {
    large_ = true;
    return check_mpi(MPI_Irecv(payload, static_cast<int>(header_.bytes), MPI_BYTE, rank(), channel_.tag,
                               channel_.communicator, &receiving_),
                     "MPI_Irecv");
  }
  if (payload != nullptr) std::memcpy(payload, incoming_.data() + sizeof header_, header_.bytes);
  expect_header();
  sink.complete(rank(), header_);
}

void MpiConnection::beat() {
  send_nothing(channel_.tag + 1);
}

bool MpiConnection::finish() {
  send_some();
  if (!unsent()) close();
  // A frame that could not be placed: nothing is expected any more.
  if (receiving_ == MPI_REQUEST_NULL && came_ < 0) return !unsent();
  Discard discard;
  return !receive_some(discard);
}

void MpiConnection::close() {
  if (std::exchange(closed_, true)) return;
  send_nothing(channel_.tag);
}

bool MpiConnection::settle(steady_clock::time_point deadline) noexcept {
  try {
    Discard discard;
    while (!ended_ && receiving_ != MPI_REQUEST_NULL && receive_some(discard) &&
           steady_clock::now() < deadline) {
      std::this_thread::sleep_for(kLook);
    }
    for (const MPI_Request request : {receiving_, beating_}) {
      MPI_Request cancelled = request;
      if (request != MPI_REQUEST_NULL) check_mpi(MPI_Cancel(&cancelled), "MPI_Cancel");
    }
    const auto settled = [&] {
      return receiving_ == MPI_REQUEST_NULL && beating_ == MPI_REQUEST_NULL && sending_.empty();
    };
    while (!settled() && steady_clock::now() < deadline) {
      if (!look()) std::this_thread::sleep_for(kLook);
    }
    return settled();
  } catch (const Error&) {
    return false;
  }
}

}  // namespace kraken
