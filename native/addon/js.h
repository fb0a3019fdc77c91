// node-addon-api as this addon uses it. Every file of native/addon/ includes this instead of <napi.h>.
#pragma once

// A worker that is being terminated can run no JavaScript: errors that cannot be thrown then are dropped, not
// fatal.
#ifndef NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#endif

#include <napi.h>

#include <string>
#include <vector>

namespace kraken::addon {

// The text JSON.stringify gives: how model configurations and tensor tables cross.
std::string to_json(const Napi::Value& value);

// Plain fields of an object that lib/ has validated and filled: a wrong type is a bug of ours (ERR_INTERNAL).
std::string string_field(const Napi::Object& object, const char* key);
double number_field(const Napi::Object& object, const char* key);
int int_field(const Napi::Object& object, const char* key);
bool bool_field(const Napi::Object& object, const char* key);
std::vector<std::string> strings_field(const Napi::Object& object, const char* key);

}  // namespace kraken::addon
