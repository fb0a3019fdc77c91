#include "addon/build_task.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "addon/background.h"
#include "addon/errors.h"
#include "base/dtype.h"
#include "base/error.h"
#include "weights/build.h"

namespace kraken::addon {
namespace {

constexpr std::chrono::milliseconds kBetweenReports{50};

class BuildTask;
// The context of the thread-safe function: keeps the task alive until nothing can call it.
using Context = std::shared_ptr<BuildTask>;
void deliver(Napi::Env env, Napi::Function on_progress, Context* context, void*);
using Waker = Napi::TypedThreadSafeFunction<Context, void, deliver>;

class BuildTask : public Background {
 public:
  explicit BuildTask(Napi::Env env) : done_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise promise() { return done_.Promise(); }
  void cancel() { cancelled_ = true; }

  void start(BuildOptions options, Waker waker) {
    waker_ = waker;
    thread_ = std::thread([this, options = std::move(options)] { run(options); });
  }

  void terminate() override {
    cancel();
    {
      const std::lock_guard lock(mutex_);
      silenced_ = true;
    }
    const std::lock_guard lock(join_mutex_);
    if (thread_.joinable()) thread_.join();
  }

  void deliver(Napi::Env env, Napi::Function on_progress) {
    uint64_t written = 0, total = 0;
    bool ended = false;
    {
      const std::lock_guard lock(mutex_);
      notified_ = false;
      written = written_;
      total = total_;
      ended = ended_;
    }
    if (ended) {
      terminate();  // only joins: the thread has nothing left to do
      untrack(env, this);
      if (error_) {
        done_.Reject(to_javascript(env, error_).Value());
      } else {
        done_.Resolve(env.Undefined());
      }
      waker_.Release();
    }
    if (total > 0) {
      Napi::Object progress = Napi::Object::New(env);
      progress.Set("bytesWritten", static_cast<double>(written));
      progress.Set("bytesTotal", static_cast<double>(total));
      on_progress.Call({progress});
    }
  }

 private:
  void run(const BuildOptions& options) {
    auto reported = std::chrono::steady_clock::now() - kBetweenReports;
    try {
      build_rank_files(options, [&](uint64_t written, uint64_t total) {
        const auto now = std::chrono::steady_clock::now();
        if (written == total || now - reported >= kBetweenReports) {
          reported = now;
          post([&] { written_ = written, total_ = total; });
        }
        return !cancelled_;
      });
    } catch (...) {
      error_ = std::current_exception();
    }
    post([&] { ended_ = true; });
  }

  template <typename Change>
  void post(Change change) {
    const std::lock_guard lock(mutex_);
    if (silenced_) return;
    change();
    if (!std::exchange(notified_, true)) waker_.NonBlockingCall();
  }

  Napi::Promise::Deferred done_;
  Waker waker_;
  std::atomic<bool> cancelled_ = false;
  std::mutex mutex_;  // guards what follows up to ended_, and every use of waker_ off the JavaScript thread
  bool notified_ = false, silenced_ = false;
  uint64_t written_ = 0, total_ = 0;
  bool ended_ = false;
  std::exception_ptr error_;  // written before ended_
  std::mutex join_mutex_;
  std::thread thread_;
};

void deliver(Napi::Env env, Napi::Function on_progress, Context* context, void*) {
  if (env != nullptr) (*context)->deliver(env, on_progress);
}

}  // namespace

Napi::Value build(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    KRAKEN_CHECK(info.Length() >= 2 && info[0].IsObject() && info[1].IsFunction());
    const Napi::Object given = info[0].As<Napi::Object>();
    BuildOptions options;
    options.config_json = to_json(given.Get("config"));
    options.tensors_json = to_json(given.Get("tensors"));
    options.ranks = int_field(given, "ranks");
    options.dtype = parse_dtype(string_field(given, "dtype"));
    options.directory = string_field(given, "directory");

    auto task = std::make_shared<BuildTask>(env);
    Napi::Object handle = Napi::Object::New(env);
    handle.Set("done", task->promise());
    handle.Set("cancel", Napi::Function::New(
                             env, [task](const Napi::CallbackInfo&) { task->cancel(); }, "cancel"));
    auto* context = new Context(task);
    Waker waker = Waker::New(
        env, info[1].As<Napi::Function>(), "kraken.build", 0, 1, context,
        [](Napi::Env, void*, Context* ended) { delete ended; }, static_cast<void*>(nullptr));
    track(env, task);
    try {
      task->start(std::move(options), waker);
    } catch (...) {  // no thread to be had
      untrack(env, task.get());
      waker.Release();
      throw;
    }
    return handle;
  });
}

}  // namespace kraken::addon
