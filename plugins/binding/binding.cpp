#include "binding/binding.h"

namespace kraken::plugins {
namespace {

thread_local Binding bound;
thread_local int32_t taken = 0;

}  // namespace

void bind(const Binding& binding) {
  bound = binding;
  taken = 0;
}

int32_t unbind() {
  bound = {};
  return taken;
}

Binding take_binding() {
  if (!bound.is_empty()) ++taken;
  return bound;
}

}  // namespace kraken::plugins
