// probeGpu(): what a GPU backend would find here. Opens libraries, so only `kraken doctor` asks.
#pragma once

#include "addon/js.h"

namespace kraken::addon {

Napi::Value probe_gpu(const Napi::CallbackInfo& info);

}  // namespace kraken::addon
