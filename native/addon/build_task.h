// build(): writes the ranks' engine files on a thread of its own, with throttled progress and cancellation.
#pragma once

#include "addon/js.h"

namespace kraken::addon {

// (options, onProgress) → { done: Promise<void>, cancel(): void }
Napi::Value build(const Napi::CallbackInfo& info);

}  // namespace kraken::addon
