// plan(): what an engine would hold on each rank, without writing anything.
#pragma once

#include "addon/js.h"

namespace kraken::addon {

// Throws ERR_RANKS when the model cannot be split over that many ranks.
Napi::Value plan(const Napi::CallbackInfo& info);

}  // namespace kraken::addon
