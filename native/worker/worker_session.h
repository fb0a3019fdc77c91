// The worker's side of the conversation: serves one executor to whoever holds the other end of the socket,
// or builds plans for it, until that end closes. The calling thread pumps messages; loading and shutting down
// have a thread of their own, so that the worker answers while they take their time.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "backend/tensorrt/build_plans.h"
#include "runtime/executor.h"
#include "worker/channel.h"

namespace kraken {

// make_local_executor(), or what tests put in its place.
using ExecutorLoader = std::function<std::unique_ptr<Executor>(const ExecutorOptions&, ResponseSink,
                                                               const std::atomic<bool>*, QueueObserver)>;

// build_plans(), or what tests put in its place.
using PlanBuilder = std::function<std::string(const PlanOptions&, const PlanProgress&)>;

class WorkerSession {
 public:
  WorkerSession(Descriptor socket, ExecutorLoader load, PlanBuilder build = build_plans);
  ~WorkerSession();

  // Returns when the other side has closed. Throws what ended the conversation before: a message that cannot
  // be (the other side is told), or another version. By then nothing runs any more.
  void run();

 private:
  void handle(MessageType type, Reader& message);
  void load(const ExecutorOptions& options);
  void build(const PlanOptions& options);
  void enqueue(Request&& request);
  void refuse(const Request& request, const Error& error);
  void stop();
  Executor& serving();
  // On the executor's thread. Waits while the other side does not read, so that no more piles up here.
  void deliver(std::vector<Response>&& responses);
  void send(std::vector<Response>&& responses);

  const ExecutorLoader load_;
  const PlanBuilder build_;
  Channel channel_;
  bool greeted_ = false, loading_ = false, stopping_ = false;
  RequestId last_id_ = 0;
  size_t vocab_ = 0;  // written before there are responses
  std::atomic<bool> cancelled_{false};
  std::unique_ptr<Executor> executor_;
  std::atomic<Executor*> ready_{nullptr};  // executor_, once loaded
  std::thread background_;
};

}  // namespace kraken
