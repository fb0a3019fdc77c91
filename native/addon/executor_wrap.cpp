#include "addon/executor_wrap.h"

#include <chrono>
#include <optional>
#include <utility>

#include "addon/errors.h"
#include "addon/responses.h"
#include "addon/worker.h"
#include "base/dtype.h"
#include "base/error.h"

namespace kraken::addon {
namespace {

using Handoff = Napi::External<std::shared_ptr<ExecutorSession>>;

ExecutorOptions to_options(const Napi::Object& object) {
  ExecutorOptions options;
  options.directory = string_field(object, "directory");
  options.model_config = to_json(object.Get("config"));
  options.backend = string_field(object, "backend");
  options.ranks = int_field(object, "ranks");
  options.dtype = parse_dtype(string_field(object, "dtype"));
  options.communication = bool_field(object, "communication");
  options.link_bytes_per_second = number_field(object, "linkBytesPerSecond");
  options.link_latency_seconds = number_field(object, "linkLatencySeconds");
  options.threads_per_rank = int_field(object, "threadsPerRank");
  options.max_batch_size = int_field(object, "maxBatchSize");
  options.max_sequence_length = int_field(object, "maxSequenceLength");
  options.max_step_tokens = int_field(object, "maxStepTokens");
  options.prefill_chunk = int_field(object, "prefillChunk");
  options.max_queue = int_field(object, "maxQueue");
  options.kv_cache_tokens = static_cast<int64_t>(number_field(object, "kvCacheTokens"));
  options.prefix_reuse = bool_field(object, "prefixReuse");
  options.profile = bool_field(object, "profile");
  options.ranks_per_device = int_field(object, "ranksPerDevice");
  options.backend_config = string_field(object, "backendConfig");
  options.exchange_dtype = parse_dtype(string_field(object, "exchangeDtype"));
  options.verify = bool_field(object, "verify");
  options.hosts = strings_field(object, "hosts");
  if (options.hosts.empty()) return options;  // under mpirun they are MPI's
  options.launch_agent = strings_field(object, "launchAgent");
  options.secret = string_field(object, "secret");
  options.start_seconds = number_field(object, "startSeconds");
  options.worker_path = find_worker().path;
  return options;
}

// Ranks that a command starts, with more environment than this process has.
void add_launch(const Napi::Object& launch, WorkerLaunch& worker) {
  const auto words = launch.Get("command").As<Napi::Array>();
  worker.arguments.emplace_back("--launch");
  for (uint32_t i = 0; i < words.Length(); ++i) {
    worker.arguments.push_back(words.Get(i).As<Napi::String>().Utf8Value());
  }
  const auto variables = launch.Get("environment").As<Napi::Object>();
  for (const auto& [name, value] : variables) {
    set_variable(worker.environment, name.As<Napi::String>().Utf8Value(),
                 Napi::Value(value).As<Napi::String>().Utf8Value());
  }
  worker.start_timeout = std::chrono::milliseconds(int_field(launch, "startTimeoutMs"));
}

}  // namespace

Napi::Function ExecutorWrap::define(Napi::Env env) {
  const Napi::Function constructor = DefineClass(
      env, "Executor",
      {StaticMethod("load", &ExecutorWrap::load), InstanceMethod("enqueue", &ExecutorWrap::enqueue),
       InstanceMethod("cancel", &ExecutorWrap::cancel), InstanceMethod("stats", &ExecutorWrap::stats),
       InstanceMethod("shutdown", &ExecutorWrap::shutdown),
       InstanceMethod("setKeepAlive", &ExecutorWrap::set_keep_alive)});
  env.SetInstanceData(new Napi::FunctionReference(Napi::Persistent(constructor)));
  return constructor;
}

Napi::Object ExecutorWrap::create(Napi::Env env, std::shared_ptr<ExecutorSession> session) {
  return env.GetInstanceData<Napi::FunctionReference>()->New({Handoff::New(env, &session)});
}

ExecutorWrap::ExecutorWrap(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ExecutorWrap>(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "an Executor is made by Executor.load()");
  }
  session_ = *info[0].As<Handoff>().Data();
}

Napi::Value ExecutorWrap::load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    KRAKEN_CHECK(info.Length() >= 2 && info[0].IsObject() && info[1].IsFunction());
    const Napi::Object options = info[0].As<Napi::Object>();
    std::optional<WorkerLaunch> worker;
    if (string_field(options, "isolation") == "process") worker = find_worker();
    if (worker && options.Has("launch")) add_launch(options.Get("launch").As<Napi::Object>(), *worker);
    if (worker && options.Has("attach")) worker->arguments = {"--attach", string_field(options, "attach")};
    return ExecutorSession::load(env, to_options(options), std::move(worker), info[1].As<Napi::Function>());
  });
}

Napi::Value ExecutorWrap::enqueue(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    KRAKEN_CHECK(info.Length() >= 1 && info[0].IsObject());
    Request request = to_request(info[0].As<Napi::Object>());
    return Napi::Number::New(env, static_cast<double>(session_->executor().enqueue(std::move(request))));
  });
}

Napi::Value ExecutorWrap::cancel(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    KRAKEN_CHECK(info.Length() >= 1 && info[0].IsNumber());
    // Everything is being cancelled anyway once it is closing.
    if (session_->open())
      session_->executor().cancel(static_cast<RequestId>(info[0].As<Napi::Number>().Int64Value()));
    return env.Undefined();
  });
}

Napi::Value ExecutorWrap::stats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env,
                 [&]() -> Napi::Value { return addon::to_javascript(env, session_->executor().stats()); });
}

Napi::Value ExecutorWrap::shutdown(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value { return session_->shutdown(env); });
}

Napi::Value ExecutorWrap::set_keep_alive(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    KRAKEN_CHECK(info.Length() >= 1 && info[0].IsBoolean());
    // While closing, the process stays until closed.
    if (session_->open()) session_->keep_alive(env, info[0].As<Napi::Boolean>().Value());
    return env.Undefined();
  });
}

}  // namespace kraken::addon
