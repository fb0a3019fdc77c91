// capabilities(): what each backend can do on this machine, and what this addon was built with.
#pragma once

#include "addon/js.h"

namespace kraken::addon {

Napi::Value capabilities(const Napi::CallbackInfo& info);

}  // namespace kraken::addon
