#include "addon/executor_session.h"

#include <utility>

#include "addon/background.h"
#include "addon/errors.h"
#include "addon/executor_wrap.h"
#include "addon/responses.h"

namespace kraken::addon {

ExecutorSession::ExecutorSession(Napi::Env env, bool in_this_process)
    : in_this_process_(in_this_process), loading_(Napi::Promise::Deferred::New(env)) {}

Napi::Object ExecutorSession::load(Napi::Env env, ExecutorOptions options, std::optional<WorkerLaunch> worker,
                                   Napi::Function on_responses) {
  auto session = std::make_shared<ExecutorSession>(env, !worker);
  auto* context = new Context(session);
  session->waker_ = Waker::New(
      env, on_responses, "kraken.executor", 0, 1, context,
      [](Napi::Env, void*, Context* finished) { delete finished; }, static_cast<void*>(nullptr));
  track(env, session->host_);
  try {
    session->host_->load(std::move(options), std::move(worker),
                         [waker = session->waker_] { waker.NonBlockingCall(); });
  } catch (...) {  // no thread to be had
    session->ended(env);
    throw;
  }
  Napi::Object handle = Napi::Object::New(env);
  handle.Set("done", session->loading_.Promise());
  const auto cancel = [host = session->host_](const Napi::CallbackInfo&) { host->cancel_loading(); };
  handle.Set("cancel", Napi::Function::New(env, cancel, "cancel"));
  return handle;
}

void ExecutorSession::wake(Napi::Env env, Napi::Function on_responses, Context* context, void*) {
  if (env == nullptr) return;        // the environment is going away
  const Context session = *context;  // ending releases the context
  session->deliver(env, on_responses);
}

void ExecutorSession::deliver(Napi::Env env, Napi::Function on_responses) {
  ExecutorHost::Mail mail = host_->take();
  if (mail.loaded) loaded(env, mail.load_error);
  // Resolving only queues reactions: JavaScript sees the last responses first.
  if (mail.closed) ended(env);
  if (!mail.responses.empty()) on_responses.Call({to_javascript(env, std::move(mail.responses))});
}

void ExecutorSession::loaded(Napi::Env env, std::exception_ptr error) {
  if (error) {
    loading_.Reject(addon::to_javascript(env, std::move(error)).Value());
    ended(env);
    return;
  }
  if (in_this_process_) {
    const ExecutorStats stats = host_->executor().stats();
    external_bytes_ = static_cast<int64_t>(stats.weight_bytes + stats.kv_bytes + stats.activation_bytes);
    Napi::MemoryManagement::AdjustExternalMemory(env, external_bytes_);
  }
  keep_alive(env, false);
  loading_.Resolve(ExecutorWrap::create(env, shared_from_this()));
}

Napi::Promise ExecutorSession::shutdown(Napi::Env env) {
  const Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
  if (ended_) {
    deferred.Resolve(env.Undefined());
  } else {
    keep_alive(env, true);
    closing_.push_back(deferred);
    host_->close();
  }
  return deferred.Promise();
}

void ExecutorSession::ended(Napi::Env env) {
  host_->terminate();  // only joins: the threads have nothing left to do
  untrack(env, host_.get());
  ended_ = true;
  if (external_bytes_ != 0)
    Napi::MemoryManagement::AdjustExternalMemory(env, -std::exchange(external_bytes_, 0));
  for (const Napi::Promise::Deferred& deferred : std::exchange(closing_, {}))
    deferred.Resolve(env.Undefined());
  waker_.Release();
}

void ExecutorSession::keep_alive(Napi::Env env, bool keep) {
  if (ended_) return;
  if (keep) {
    waker_.Ref(env);
  } else {
    waker_.Unref(env);
  }
}

}  // namespace kraken::addon
