// Where the kraken-worker of this build is, and what it should say of itself (NativeWorker in lib/native.ts).
#pragma once

#include "addon/js.h"
#include "worker/worker_process.h"

namespace kraken::addon {

// Beside the addon, unless KRAKEN_WORKER names another. JavaScript thread only.
WorkerLaunch find_worker();

Napi::Value worker(const Napi::CallbackInfo& info);

}  // namespace kraken::addon
