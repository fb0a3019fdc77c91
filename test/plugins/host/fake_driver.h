// What libcuda.so.1 of these tests can be told and asked. It is opened by name, as the driver is.
#pragma once

#include <dlfcn.h>

#include <stdexcept>
#include <string>

namespace kraken::fake_driver {

template <typename Function>
Function* function(const char* name) {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  void* found = library == nullptr ? nullptr : dlsym(library, name);
  if (found == nullptr) throw std::runtime_error(std::string("libcuda.so.1 is not the stand-in: no ") + name);
  return reinterpret_cast<Function*>(found);
}

// Whether the devices have multicast; at first they have not.
inline void set_multicast(bool supported) {
  function<void(bool)>("fake_driver_set_multicast")(supported);
}
// The call of `name` after the next `calls` fails, once. True if that has happened since.
inline void fail(const std::string& name, int calls) {
  function<void(const char*, int)>("fake_driver_fail")(name.c_str(), calls);
}
inline bool has_failed() {
  return function<bool()>("fake_driver_has_failed")();
}
// Memory, mappings and bindings that are alive.
inline int live_objects() {
  return function<int()>("fake_driver_live_objects")();
}

}  // namespace kraken::fake_driver
