// What the plugins of an execution context work with: what is bound to the thread that creates it. A key for
// the whole process would mix up ranks that are threads, and engines that share a process.
#pragma once

#include <cstdint>

#include "communicator/communicator.h"
#include "kv_cache/kv_cache.h"

namespace kraken::plugins {

struct Binding {
  DeviceCommunicator* communicator = nullptr;  // null: the plugin exchanges nothing
  const KvCache* kv_cache = nullptr;           // null: it attends to the step's own tokens
  bool is_empty() const { return communicator == nullptr && kv_cache == nullptr; }
};

void bind(const Binding& binding);
// How many plugins took it since it was bound.
int32_t unbind();
// What is bound, which may be nothing: the plugin works alone.
Binding take_binding();

}  // namespace kraken::plugins
