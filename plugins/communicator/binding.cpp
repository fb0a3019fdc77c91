#include "communicator/binding.h"

namespace kraken::plugins {
namespace {

thread_local DeviceCommunicator* bound = nullptr;
thread_local int32_t taken = 0;

}  // namespace

void bind_communicator(DeviceCommunicator* communicator) {
  bound = communicator;
  taken = 0;
}

int32_t unbind_communicator() {
  bound = nullptr;
  return taken;
}

DeviceCommunicator* take_bound_communicator() {
  if (bound != nullptr) ++taken;
  return bound;
}

}  // namespace kraken::plugins
