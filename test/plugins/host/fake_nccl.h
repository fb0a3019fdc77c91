// What libnccl.so.2 of these tests can be told and asked.
#pragma once

#include <dlfcn.h>

#include <stdexcept>
#include <string>

namespace kraken::fake_nccl {

// RefusesSetUp: the call itself fails. FailsLater: whatever was begun ends in an error. Hangs: it never ends.
enum class Fault { None, RefusesSetUp, FailsLater, Hangs };

template <typename Function>
Function* function(const char* name) {
  void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  void* found = library == nullptr ? nullptr : dlsym(library, name);
  if (found == nullptr) throw std::runtime_error(std::string("libnccl.so.2 is not the stand-in: no ") + name);
  return reinterpret_cast<Function*>(found);
}

inline void set(Fault fault) {
  function<void(Fault)>("fake_nccl_set")(fault);
}
// Whether aborts wait, as NCCL's do for graphs that captured its kernels, until it is false again.
inline void hold_aborts(bool held) {
  function<void(bool)>("fake_nccl_hold_aborts")(held);
}
// Since set() was called.
inline int aborted() {
  return function<int()>("fake_nccl_aborted")();
}
inline int alive() {
  return function<int()>("fake_nccl_alive")();
}

}  // namespace kraken::fake_nccl
