#include "addon/capabilities.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "addon/errors.h"
#include "backend/backend.h"

namespace kraken::addon {
namespace {

// Keys of a capability's details that are versions of libraries.
constexpr std::array kLibraries = {"oneDNN", "highway", "TensorRT", "TensorRT-LLM", "CUDA", "NCCL", "OpenMP"};

Napi::Object details_of(Napi::Env env, const Capability& capability) {
  Napi::Object details = Napi::Object::New(env);
  for (const auto& [key, value] : capability.details) details.Set(key, value);
  return details;
}

}  // namespace

Napi::Value capabilities(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    Napi::Object backends = Napi::Object::New(env);
    Napi::Object libraries = Napi::Object::New(env);
    libraries.Set("nlohmann-json", std::to_string(NLOHMANN_JSON_VERSION_MAJOR) + "." +
                                       std::to_string(NLOHMANN_JSON_VERSION_MINOR) + "." +
                                       std::to_string(NLOHMANN_JSON_VERSION_PATCH));
    for (const Backend* backend : all_backends()) {
      const Capability capability = backend->capability();
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("available", capability.available);
      entry.Set("reason", capability.reason);
      entry.Set("details", details_of(env, capability));
      backends.Set(backend->name(), entry);
      for (const char* library : kLibraries) {
        const auto found = capability.details.find(library);
        if (found != capability.details.end()) libraries.Set(library, found->second);
      }
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("backends", backends);
    result.Set("libraries", libraries);
    result.Set("cores", std::thread::hardware_concurrency());
    return result;
  });
}

}  // namespace kraken::addon
