#include "addon/executor_host.h"

#include <iterator>
#include <utility>

#include "base/error.h"
#include "hosts/hosted_executor.h"
#include "worker/worker_executor.h"

namespace kraken::addon {

ExecutorHost::~ExecutorHost() {
  terminate();
}

template <typename Change>
void ExecutorHost::post(Change change) {
  const std::lock_guard lock(mail_mutex_);
  if (silenced_) return;
  change(mail_);
  if (!std::exchange(rung_, true)) ring_();
}

void ExecutorHost::load(ExecutorOptions options, std::optional<WorkerLaunch> worker,
                        std::function<void()> ring) {
  ring_ = std::move(ring);
  const std::lock_guard lock(threads_mutex_);
  loader_ = std::thread([this, options = std::move(options), worker = std::move(worker)] {
    std::exception_ptr error;
    try {
      const auto sink = [this](std::vector<Response>&& responses) {
        post([&](Mail& mail) {
          if (mail.responses.empty()) {
            mail.responses = std::move(responses);
          } else {
            std::move(responses.begin(), responses.end(), std::back_inserter(mail.responses));
          }
        });
      };
      if (worker) {
        executor_ = std::make_unique<WorkerExecutor>(options, *worker, sink, &cancelled_);
      } else {
        executor_ = make_executor(options, sink, &cancelled_);
      }
    } catch (...) {
      error = std::current_exception();
    }
    post([&](Mail& mail) {
      mail.loaded = true;
      mail.load_error = error;
    });
  });
}

ExecutorHost::Mail ExecutorHost::take() {
  const std::lock_guard lock(mail_mutex_);
  rung_ = false;
  return std::exchange(mail_, {});
}

bool ExecutorHost::open() const {
  const std::lock_guard lock(mail_mutex_);
  return !closing_ && !silenced_;
}

Executor& ExecutorHost::executor() {
  if (!open()) throw Error("ERR_DISPOSED", "the engine was disposed");
  return *executor_;
}

void ExecutorHost::close() {
  if (closing_) return;
  const std::lock_guard lock(threads_mutex_);
  closer_ = std::thread([this] {
    executor_->shutdown();
    executor_.reset();  // unmapping and freeing gigabytes takes a while
    post([](Mail& mail) { mail.closed = true; });
  });
  closing_ = true;
}

void ExecutorHost::terminate() {
  cancel_loading();
  {
    const std::lock_guard lock(mail_mutex_);
    silenced_ = true;
  }
  const std::lock_guard lock(threads_mutex_);
  if (loader_.joinable()) loader_.join();
  if (closer_.joinable()) closer_.join();
  // Not freed here: at exit the JavaScript thread of a worker may be inside a call of it.
  if (executor_) executor_->shutdown();
}

}  // namespace kraken::addon
