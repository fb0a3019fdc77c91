#include "addon/background.h"

#include <algorithm>
#include <cstdlib>
#include <list>
#include <mutex>
#include <utility>
#include <vector>

namespace kraken::addon {
namespace {

struct Tracked {
  napi_env env;
  std::shared_ptr<Background> work;
};

// Never destroyed: threads may outlive static destructors.
struct Registry {
  std::mutex mutex;
  std::list<Tracked> tracked;

  std::vector<std::shared_ptr<Background>> of(napi_env env) {  // of every environment when null
    const std::lock_guard lock(mutex);
    std::vector<std::shared_ptr<Background>> found;
    for (const Tracked& entry : tracked) {
      if (env == nullptr || entry.env == env) found.push_back(entry.work);
    }
    return found;
  }

  std::shared_ptr<Background> remove(const Background* work) {
    const std::lock_guard lock(mutex);
    const auto at =
        std::find_if(tracked.begin(), tracked.end(), [&](const Tracked& t) { return t.work.get() == work; });
    if (at == tracked.end()) return nullptr;
    std::shared_ptr<Background> removed = std::move(at->work);
    tracked.erase(at);
    return removed;
  }
};

Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

void terminate_all(napi_env env) {
  for (const auto& work : registry().of(env)) work->terminate();
}

void cleanup_hook(void* work) {
  if (const auto removed = registry().remove(static_cast<Background*>(work))) removed->terminate();
}

}  // namespace

void track(Napi::Env env, std::shared_ptr<Background> work) {
  // Registered with the first work, so that it runs before the destructors of the statics loading has
  // created.
  static const int registered = std::atexit([] { terminate_all(nullptr); });
  (void)registered;
  void* const key = work.get();
  {
    const std::lock_guard lock(registry().mutex);
    registry().tracked.push_back({env, std::move(work)});
  }
  napi_add_env_cleanup_hook(env, cleanup_hook, key);
}

void untrack(Napi::Env env, const Background* work) {
  if (registry().remove(work)) napi_remove_env_cleanup_hook(env, cleanup_hook, const_cast<Background*>(work));
}

void terminate_on_exit(Napi::Env env) {
  const Napi::Object process = env.Global().Get("process").As<Napi::Object>();
  const auto on_exit = [](const Napi::CallbackInfo& info) { terminate_all(info.Env()); };
  process.Get("on").As<Napi::Function>().Call(
      process, {Napi::String::New(env, "exit"), Napi::Function::New(env, on_exit, "krakenExit")});
}

}  // namespace kraken::addon
