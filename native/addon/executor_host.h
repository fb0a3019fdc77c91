// Runs an Executor for a JavaScript environment: loads and closes it on threads of its own, and collects what
// it says in a mailbox that the JavaScript thread empties. Holds no JavaScript values.
//
// The executor's thread never waits for JavaScript: it puts a step's responses in the mailbox and rings the
// bell once. While JavaScript is busy, the batches of later steps join those waiting and all are delivered in
// one call.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "addon/background.h"
#include "runtime/executor.h"
#include "worker/worker_process.h"

namespace kraken::addon {

class ExecutorHost : public Background {
 public:
  struct Mail {
    bool loaded = false;            // loading has ended; load_error says how
    std::exception_ptr load_error;  // only with loaded
    std::vector<Response> responses;
    bool closed = false;  // closing has ended; nothing comes after this
  };

  ~ExecutorHost() override;

  // In a process of its own if `worker` says which. `ring` wakes the JavaScript thread; called on other
  // threads, never after terminate() was entered.
  void load(ExecutorOptions options, std::optional<WorkerLaunch> worker, std::function<void()> ring);
  // Loading fails with ERR_ABORTED at the next tensor, if it has not ended by then. Any thread.
  void cancel_loading() { cancelled_ = true; }

  // The rest is for the JavaScript thread.
  Mail take();
  // Throws ERR_DISPOSED once closing or terminated.
  Executor& executor();
  bool open() const;
  // Begins to close: cancels what runs and frees the executor on another thread; Mail::closed tells the end.
  void close();

  void terminate() override;

 private:
  template <typename Change>
  void post(Change change);

  std::function<void()> ring_;
  std::atomic<bool> cancelled_ = false;
  mutable std::mutex mail_mutex_;  // guards mail_, rung_, silenced_ and every call of ring_
  Mail mail_;
  bool rung_ = false, silenced_ = false;

  bool closing_ = false;  // JavaScript thread only
  std::unique_ptr<Executor> executor_;
  std::mutex threads_mutex_;
  std::thread loader_, closer_;
};

}  // namespace kraken::addon
