// The JavaScript side of one executor: promises, the callback for responses, and whether it keeps the process
// alive. Lives until both its JavaScript object and its thread-safe function are gone. JavaScript thread
// only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "addon/executor_host.h"
#include "addon/js.h"
#include "runtime/executor.h"

namespace kraken::addon {

class ExecutorSession : public std::enable_shared_from_this<ExecutorSession> {
 public:
  // Begins to load; gives {done: a promise of the Executor object, cancel()}.
  static Napi::Object load(Napi::Env env, ExecutorOptions options, std::optional<WorkerLaunch> worker,
                           Napi::Function on_responses);

  ExecutorSession(Napi::Env env, bool in_this_process);

  // Throws ERR_DISPOSED once closing.
  Executor& executor() { return host_->executor(); }
  bool open() const { return host_->open(); }
  Napi::Promise shutdown(Napi::Env env);
  void keep_alive(Napi::Env env, bool keep);

 private:
  using Context = std::shared_ptr<ExecutorSession>;
  static void wake(Napi::Env env, Napi::Function on_responses, Context* context, void*);
  using Waker = Napi::TypedThreadSafeFunction<Context, void, wake>;

  void deliver(Napi::Env env, Napi::Function on_responses);
  void loaded(Napi::Env env, std::exception_ptr error);
  void ended(Napi::Env env);

  const std::shared_ptr<ExecutorHost> host_ = std::make_shared<ExecutorHost>();
  Waker waker_;
  const bool in_this_process_;
  bool ended_ = false;
  int64_t external_bytes_ = 0;  // told to V8
  Napi::Promise::Deferred loading_;
  std::vector<Napi::Promise::Deferred> closing_;
};

}  // namespace kraken::addon
