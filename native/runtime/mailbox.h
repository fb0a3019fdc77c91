// What other threads leave for the executor's thread: new requests, cancellations, the wish to stop. It holds
// the queue's bound, so that a request that is one too many is refused in the call that makes it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "runtime/sequence.h"

namespace kraken {

class Mailbox {
 public:
  struct Mail {
    std::vector<std::unique_ptr<Sequence>> requests;  // sample 0 of each, the others inside it
    std::vector<RequestId> cancellations;
    bool stop = false;
  };

  explicit Mailbox(int32_t bound, QueueObserver observer = {})
      : bound_(bound), observer_(std::move(observer)) {}

  // Numbers the request, unless it has an id, and its samples. Throws ERR_QUEUE_FULL, ERR_DISPOSED, or what
  // close() was told.
  RequestId post(std::unique_ptr<Sequence> request);
  void cancel(RequestId id);
  void stop();

  // Everything that came since the last call; waits for something unless `busy`.
  Mail collect(bool busy);

  // `count` requests began to run or ended before: they no longer count as waiting.
  void left_queue(int32_t count);

  // Every later post() throws this. Returns the requests nobody collected.
  std::vector<std::unique_ptr<Sequence>> close(const std::string& code, const std::string& message);

  // What close() was told; empty before.
  std::string closed();

  // Sequences nobody collected yet.
  int32_t uncollected();

 private:
  const int32_t bound_;
  const QueueObserver observer_;
  std::mutex mutex_;
  std::condition_variable wake_;
  Mail mail_;
  int32_t queued_ = 0;  // requests of which no sample has run yet
  bool stopped_ = false;
  std::string closed_code_, closed_message_;
  RequestId last_id_ = 0;
  uint64_t next_arrival_ = 0;
};

}  // namespace kraken
