// The class `Executor` that JavaScript sees (NativeExecutor in lib/native.ts): argument conversion only.
#pragma once

#include <memory>

#include "addon/executor_session.h"
#include "addon/js.h"

namespace kraken::addon {

class ExecutorWrap : public Napi::ObjectWrap<ExecutorWrap> {
 public:
  // Defines the class; its constructor becomes the environment's instance data.
  static Napi::Function define(Napi::Env env);
  static Napi::Object create(Napi::Env env, std::shared_ptr<ExecutorSession> session);

  explicit ExecutorWrap(const Napi::CallbackInfo& info);

 private:
  static Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value enqueue(const Napi::CallbackInfo& info);
  Napi::Value cancel(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value shutdown(const Napi::CallbackInfo& info);
  Napi::Value set_keep_alive(const Napi::CallbackInfo& info);

  std::shared_ptr<ExecutorSession> session_;
};

}  // namespace kraken::addon
