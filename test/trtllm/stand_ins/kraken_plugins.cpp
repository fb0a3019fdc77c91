// Our plugin library, as far as a rank that TensorRT-LLM runs uses it. How many plugins find their
// communicator is what KRAKEN_DOUBLE_PLUGINS says.
#include "kraken_plugins.h"

#include <vector>

#include "events.h"

struct kraken_communicator {
  int rank;
};

STAND_IN int32_t kraken_plugins_interface() {
  return KRAKEN_PLUGINS_INTERFACE;
}
STAND_IN int32_t kraken_plugins_tensorrt_version() {
  const char* other = std::getenv("KRAKEN_DOUBLE_TENSORRT");
  return other != nullptr ? std::atoi(other) : 101500;
}
STAND_IN const char* kraken_plugins_last_error() {
  return "the stand-in was told to fail";
}
STAND_IN int32_t kraken_plugins_register(void* registry) {
  event(registry != nullptr ? "our plugins" : "our plugins in no registry");
  return 5;
}
STAND_IN kraken_communicator* kraken_communicator_create(const kraken_communicator_options* options) {
  // As the real one: all ranks' words reach all.
  std::vector<int32_t> all(static_cast<size_t>(options->ranks));
  const int32_t mine = 100 + options->rank;
  if (options->all_gather(options->context, &mine, all.data(), sizeof mine) != 0) return nullptr;
  std::string heard;
  for (const int32_t one : all) {
    heard += ' ';
    heard += std::to_string(one);
  }
  event("communicator of" + heard + ", " + std::to_string(options->capacity) + " bytes");
  return new kraken_communicator{options->rank};
}
STAND_IN void kraken_communicator_destroy(kraken_communicator* communicator) {
  event("communicator gone");
  delete communicator;
}
STAND_IN void kraken_bind(const kraken_binding* binding) {
  event(binding->communicator != nullptr && binding->kv_cache == nullptr ? "bound"
                                                                         : "bound to something else");
}
STAND_IN int32_t kraken_unbind() {
  const char* count = std::getenv("KRAKEN_DOUBLE_PLUGINS");
  event("unbound");
  return count != nullptr ? std::atoi(count) : 0;
}
