#include "addon/build_task.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "addon/background.h"
#include "addon/errors.h"
#include "addon/worker.h"
#include "base/dtype.h"
#include "base/error.h"
#include "runtime/limits.h"
#include "weights/build.h"
#include "worker/plan_process.h"

namespace kraken::addon {
namespace {

constexpr std::chrono::milliseconds kBetweenReports{50};

// What follows the weights where a backend compiles when it builds.
struct Plans {
  PlanOptions options;
  WorkerLaunch worker;
};

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

  void start(BuildOptions options, std::optional<Plans> plans, Waker waker) {
    waker_ = waker;
    thread_ = std::thread([this, options = std::move(options), plans = std::move(plans)] {
      try {
        write_weights(options);
        if (plans) write_plans(*plans);
      } catch (...) {
        error_ = std::current_exception();
      }
      post([&] { ended_ = true; });
    });
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
    Progress progress;
    bool ended = false;
    {
      const std::lock_guard lock(mutex_);
      notified_ = false;
      progress = progress_;
      ended = ended_;
    }
    if (ended) {
      terminate();  // only joins: the thread has nothing left to do
      untrack(env, this);
      if (error_) {
        done_.Reject(to_javascript(env, error_).Value());
      } else {
        done_.Resolve(Napi::String::New(env, facts_));
      }
      waker_.Release();
    }
    if (progress.stage == nullptr) return;
    Napi::Object report = Napi::Object::New(env);
    report.Set("stage", progress.stage);
    report.Set("done", progress.done);
    report.Set("total", progress.total);
    on_progress.Call({report});
  }

 private:
  struct Progress {
    const char* stage = nullptr;
    double done = 0, total = 0;
  };

  void write_weights(const BuildOptions& options) {
    auto reported = std::chrono::steady_clock::now() - kBetweenReports;
    build_rank_files(options, [&](uint64_t written, uint64_t total) {
      const auto now = std::chrono::steady_clock::now();
      if (written == total || now - reported >= kBetweenReports) {
        reported = now;
        report({"weights", static_cast<double>(written), static_cast<double>(total)});
      }
      return !cancelled_;
    });
  }

  void write_plans(const Plans& plans) {
    double reported = -1;
    facts_ = build_plans_in_worker(plans.options, plans.worker, [&](double done) {
      if (done > reported) report({"plans", reported = done, 1});
      return !cancelled_;
    });
  }

  void report(const Progress& progress) {
    post([&] { progress_ = progress; });
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
  Progress progress_;
  bool ended_ = false;
  std::exception_ptr error_;  // written before ended_
  std::string facts_;         // as well
  std::mutex join_mutex_;
  std::thread thread_;
};

void deliver(Napi::Env env, Napi::Function on_progress, Context* context, void*) {
  if (env != nullptr) (*context)->deliver(env, on_progress);
}

PlanOptions plan_options(const Napi::Object& given, const BuildOptions& weights) {
  PlanOptions options;
  options.directory = weights.directory;
  options.model_config = weights.config_json;
  options.ranks = weights.ranks;
  options.dtype = weights.dtype;
  options.communication = bool_field(given, "communication");
  options.ranks_per_device = int_field(given, "ranksPerDevice");
  options.max_tokens = int_field(given, "maxStepTokens");
  options.max_sequences = int_field(given, "maxBatchSize");
  options.max_rows = rows_of_step(options.max_sequences, options.max_tokens);
  options.max_context = int_field(given, "maxSequenceLength");
  options.trtllm_max_input = int_field(given, "trtllmMaxInput");
  options.gathers_context_logits = bool_field(given, "gatherContextLogits");
  options.timings = string_field(given, "timings");
  return options;
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

    std::optional<Plans> plans;
    if (string_field(given, "backend") != "cpu") {
      options.extension = "weights";
      plans.emplace(Plans{plan_options(given, options), find_worker()});
      if (const std::string path = string_field(given, "libraryPath"); !path.empty()) {
        set_variable(plans->worker.environment, "LD_LIBRARY_PATH", path);
      }
    }

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
      task->start(std::move(options), std::move(plans), waker);
    } catch (...) {  // no thread to be had
      untrack(env, task.get());
      waker.Release();
      throw;
    }
    return handle;
  });
}

}  // namespace kraken::addon
