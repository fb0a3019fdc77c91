#include "addon/gpu.h"

#include "addon/errors.h"
#include "backend/tensorrt/gpu_probe.h"

namespace kraken::addon {

Napi::Value probe_gpu(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const GpuProbe probe = kraken::probe_gpu();
    Napi::Object result = Napi::Object::New(env);
    const auto set = [&](const char* name, const GpuFinding& finding) {
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("found", finding.found);
      entry.Set("text", finding.text);
      result.Set(name, entry);
    };
    set("plugins", probe.plugins);
    set("driver", probe.driver);
    set("tensorrt", probe.tensorrt);
    set("nccl", probe.nccl);
    return result;
  });
}

}  // namespace kraken::addon
