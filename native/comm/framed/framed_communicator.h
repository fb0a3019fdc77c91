// Ranks in different processes, on different hosts: a connection to each other rank, and one thread that
// answers for all of them in frames, whatever carries these (tcp/, mpi/). That thread sleeps. On a host whose
// cores all compute it takes them only for as long as bytes are moved, so a slow link is hidden nearly whole;
// one that polls would take a core from the compute (docs/multi-host.md has measurements).
//
// To wake it, and to be interrupted by it, costs a core more than to move a few bytes. So where a transport
// is shared, a thread sends what it starts, and takes what it waits for, itself, as far as that goes without
// waiting; between two ranks the other thread is only woken for what nobody is there to take.
//
// A rank that is lost is noticed by everyone within a second, whether anybody waits for it or not: every
// connection carries a sign of life at least every `beat`, and `missed_beats` of silence end the group.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/framed/exchange.h"
#include "comm/framed/frame_transport.h"

namespace kraken {

struct FramedGroupOptions {
  // False: as in LocalGroupOptions.
  bool communication = true;
  WireFormat wire = WireFormat::Float32;
  std::chrono::milliseconds beat{200};
  int missed_beats = 4;
  // Called once, on any thread, when the group is lost because of that rank, or was aborted by this one; must
  // not block.
  std::function<void(int rank)> on_lost = [](int) {};
};

class FramedCommunicator final : public Communicator, private FrameSink {
 public:
  // A rank alone needs no transport.
  FramedCommunicator(int rank, int size, std::unique_ptr<FrameTransport> transport,
                     const FramedGroupOptions& options);
  ~FramedCommunicator() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Ticket start(std::span<const float* const> parts, int64_t rows, int64_t width) override;
  Exchanged wait(Ticket ticket) override;
  void gather_columns(const float* part, int64_t rows, int64_t columns, int64_t begin, float* full,
                      int64_t total) override;
  void barrier() override;
  void all_gather(const void* mine, void* all, size_t bytes) override;
  void abort(const std::string& reason) override;
  bool is_lost() override { return !lost_because().empty(); }
  // Empty while it is not.
  std::string lost_because();
  uint64_t exposed_nanoseconds() const override { return exposed_; }
  uint64_t collective_nanoseconds() const override { return collective_; }
  uint64_t exchanges() const override { return exchanges_; }

  // Messages between ranks, in order, beside the collectives. Any thread.
  void post(int rank, std::vector<uint8_t> message);
  // The next of that rank; nothing once it has left. Throws ERR_RANK_LOST as wait() does, when all that came
  // before has been received.
  std::optional<std::vector<uint8_t>> receive(int rank);
  // Tells the others that this rank ends as it should, and ends its connections. Idempotent.
  void leave();

 private:
  using Clock = std::chrono::steady_clock;

  // What the others have told; guarded by mutex_.
  struct Peer {
    uint64_t parts = 0, sums = 0, columns = 0, arrivals = 0, records = 0;  // how many have come
    bool left = false;
    std::deque<std::vector<uint8_t>> unread_records;  // at most two: nobody is further ahead
    std::deque<std::vector<uint8_t>> messages;
  };
  struct Order {
    int rank;
    FrameKind kind;
    uint64_t number;
    std::vector<uint8_t> payload;
  };

  bool alone() const { return size_ == 1; }
  Exchange& exchange(Ticket ticket) { return exchanges_in_flight_[ticket % kExchangeDepth]; }

  // Threads that need what another rank sends: `lock` holds mutex_. Returns once it is over().
  template <typename Over>
  void sleep_until(std::unique_lock<std::mutex>& lock, std::atomic<int>& sleepers, const Over& over);
  // The same until it is done(). Throws ERR_RANK_LOST when the group is lost, or when a rank that `needs`
  // says it still needs has left. Returns how long it waited.
  template <typename Done, typename Needs>
  Clock::duration await(std::unique_lock<std::mutex>& lock, const Done& done, const Needs& needs);
  // The same in a collective: what it waits is exposed.
  template <typename Done, typename Needs>
  void await_collective(std::unique_lock<std::mutex>& lock, const Done& done, const Needs& needs);
  void order(int rank, FrameKind kind, uint64_t number, std::vector<uint8_t> payload = {});
  void wake();

  // What the communication thread does, done by a thread that would have to wake it: sends what was started
  // and ordered …
  void send_now();
  // … and takes what has come.
  void receive_now();
  // Does so, and sends what follows from it; what doesn't fit is left to the communication thread.
  template <typename Turn>
  void take_turn(std::unique_lock<std::mutex> connections, const Turn& turn) noexcept;

  // The communication thread. It holds connections_mutex_ while it is awake.
  void run() noexcept;
  bool turn(std::unique_lock<std::mutex>& connections);  // false: it is over
  void take_orders();
  void advance();
  void listen(std::unique_lock<std::mutex>& connections);
  void choose_when_to_wake(Connection& connection);
  size_t due_from(int rank);  // bytes of the next part or sum; 0 when none is waited for
  Urgency urgency() const;
  void receive_from(int rank);
  void receive_rest(int lost_rank);
  void beat();
  void say_farewell(FrameKind kind, const std::string& reason, std::unique_lock<std::mutex>& connections);
  uint8_t* place(int rank, const FrameHeader& header) override;
  void complete(int rank, const FrameHeader& header) override;
  template <typename Action>
  void for_each_connection(const Action& action);

  const int rank_, size_;
  const FramedGroupOptions options_;
  const std::unique_ptr<FrameTransport> transport_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string reason_;  // not empty: lost or aborted
  bool leaving_ = false;
  std::vector<Peer> peers_;
  std::vector<Order> orders_;
  Ticket started_ = 0, done_ = 0;
  uint64_t released_ = 0, taken_ = 0;  // barriers and gathers that rank 0 has ended

  // The compute thread's.
  Ticket waited_ = 0;
  int in_flight_ = 0;
  uint64_t gathers_ = 0, barriers_ = 0, all_gathers_ = 0;
  std::vector<const float*> own_parts_[kExchangeDepth];  // where nothing is exchanged

  // Of the communication thread and of who takes a turn; guarded by connections_mutex_, which is locked
  // before mutex_.
  std::mutex connections_mutex_;
  std::vector<Exchange> exchanges_in_flight_;   // [kExchangeDepth]
  std::vector<int> silent_;                     // beats
  std::vector<std::vector<uint8_t>> columns_;   // [size]; rank 0's compute thread reads them
  std::vector<std::vector<uint8_t>> incoming_;  // [size]
  Ticket sent_ = 0, reduced_ = 0, finished_ = 0;
  int at_ = rank_;              // whose connection is dealt with: what is thrown is about that rank
  std::exception_ptr failure_;  // of another thread's turn, for the communication thread to deal with
  bool over_ = false;
  Clock::time_point next_beat_;

  std::atomic<uint64_t> exposed_{0}, collective_{0}, exchanges_{0};
  std::atomic<bool> woken_{false};
  std::atomic<int> waiting_{0}, receiving_{0};  // threads that sleep, in a collective and in receive()
  std::mutex leave_mutex_;
  std::thread thread_;
};

}  // namespace kraken
