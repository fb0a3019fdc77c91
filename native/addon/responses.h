// Requests and responses as JavaScript objects (NativeRequest, NativeResponse, NativeStats in lib/native.ts).
#pragma once

#include <vector>

#include "addon/js.h"
#include "runtime/executor.h"

namespace kraken::addon {

Request to_request(const Napi::Object& object);
// Takes the responses apart: large `values` move into their ArrayBuffers without a copy where the host allows
// it.
Napi::Array to_javascript(Napi::Env env, std::vector<Response>&& responses);
Napi::Object to_javascript(Napi::Env env, const ExecutorStats& stats);

}  // namespace kraken::addon
