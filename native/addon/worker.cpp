#include "addon/worker.h"

#include <dlfcn.h>

#include <string>

#include "addon/errors.h"
#include "worker/messages.h"

namespace kraken::addon {
namespace {

std::string directory_of_addon() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&find_worker), &info) == 0 || info.dli_fname == nullptr)
    return ".";
  const std::string file = info.dli_fname;
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

}  // namespace

WorkerLaunch find_worker() {
  return worker_launch(directory_of_addon());
}

Napi::Value worker(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const WorkerLaunch launch = find_worker();
    Napi::Object result = Napi::Object::New(env);
    result.Set("path", launch.path);
    result.Set("version", worker_version());
    result.Set("trouble", worker_trouble(launch));
    return result;
  });
}

}  // namespace kraken::addon
