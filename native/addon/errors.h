// The one place where native exceptions become JavaScript errors with a `code` (lib/errors.ts makes
// KrakenErrors).
#pragma once

#include <exception>

#include "addon/js.h"

namespace kraken::addon {

// kraken::Error keeps its code, std::bad_alloc is ERR_OUT_OF_MEMORY, anything else ERR_INTERNAL.
Napi::Error to_javascript(Napi::Env env, std::exception_ptr error);

// Runs the body of an exported function; what it throws reaches JavaScript as a coded error.
template <typename Body>
Napi::Value guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;  // already JavaScript's
  } catch (...) {
    throw to_javascript(env, std::current_exception());
  }
}

}  // namespace kraken::addon
