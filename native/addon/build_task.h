// build(): writes the ranks' engine files on a thread of its own, with throttled progress and cancellation.
// Where the backend compiles when it builds, their plans are made of them in a kraken-worker.
#pragma once

#include "addon/js.h"

namespace kraken::addon {

// (options, onProgress) → { done: Promise<string>, cancel(): void }
Napi::Value build(const Napi::CallbackInfo& info);

}  // namespace kraken::addon
