#include "addon/js.h"

#include "base/error.h"

namespace kraken::addon {
namespace {

[[noreturn]] void wrong(const char* key, const char* expected) {
  internal_error(std::string("native call: `") + key + "` must be a " + expected);
}

}  // namespace

std::string to_json(const Napi::Value& value) {
  const Napi::Object json = value.Env().Global().Get("JSON").As<Napi::Object>();
  const Napi::Value text = json.Get("stringify").As<Napi::Function>().Call(json, {value});
  if (!text.IsString()) internal_error("native call: a value that JSON cannot express");
  return text.As<Napi::String>().Utf8Value();
}

std::string string_field(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsString()) wrong(key, "string");
  return value.As<Napi::String>().Utf8Value();
}

double number_field(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsNumber()) wrong(key, "number");
  return value.As<Napi::Number>().DoubleValue();
}

int int_field(const Napi::Object& object, const char* key) {
  const double value = number_field(object, key);
  if (!(value >= -2147483648.0 && value <= 2147483647.0)) wrong(key, "32-bit integer");
  return static_cast<int>(value);
}

std::vector<std::string> strings_field(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsArray()) wrong(key, "list of strings");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<std::string> strings;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value element = array.Get(i);
    if (!element.IsString()) wrong(key, "list of strings");
    strings.push_back(element.As<Napi::String>().Utf8Value());
  }
  return strings;
}

bool bool_field(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsBoolean()) wrong(key, "boolean");
  return value.As<Napi::Boolean>().Value();
}

}  // namespace kraken::addon
