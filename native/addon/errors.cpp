#include "addon/errors.h"

#include <new>

#include "base/error.h"

namespace kraken::addon {
namespace {

Napi::Error coded(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

}  // namespace

Napi::Error to_javascript(Napi::Env env, std::exception_ptr error) {
  try {
    std::rethrow_exception(std::move(error));
  } catch (const Error& e) {
    return coded(env, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return coded(env, "ERR_OUT_OF_MEMORY", "not enough memory");
  } catch (const std::exception& e) {
    return coded(env, "ERR_INTERNAL", e.what());
  } catch (...) {
    return coded(env, "ERR_INTERNAL", "an exception of unknown type");
  }
}

}  // namespace kraken::addon
