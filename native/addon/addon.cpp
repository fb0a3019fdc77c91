// The export table of the addon; lib/native.ts declares the same surface as types.
#include "addon/background.h"
#include "addon/build_task.h"
#include "addon/capabilities.h"
#include "addon/executor_wrap.h"
#include "addon/gpu.h"
#include "addon/js.h"
#include "addon/plan.h"
#include "addon/worker.h"

#ifndef KRAKEN_VERSION
#define KRAKEN_VERSION "unversioned"
#endif

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  using namespace kraken::addon;
  exports.Set("version", KRAKEN_VERSION);
  exports.Set("capabilities", Napi::Function::New(env, capabilities, "capabilities"));
  exports.Set("probeGpu", Napi::Function::New(env, probe_gpu, "probeGpu"));
  exports.Set("plan", Napi::Function::New(env, plan, "plan"));
  exports.Set("build", Napi::Function::New(env, build, "build"));
  exports.Set("worker", Napi::Function::New(env, worker, "worker"));
  exports.Set("Executor", ExecutorWrap::define(env));
  terminate_on_exit(env);
  return exports;
}

}  // namespace

NODE_API_MODULE(kraken, init)
