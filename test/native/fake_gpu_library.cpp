// Stands in for a shared library of the GPU backend, as few functions as opening it asks for. The build
// compiles it several times: as TensorRT of a version, as this build's plugins with an interface and a
// version.
#include <cstdint>

#define EXPORT extern "C" __attribute__((visibility("default")))

#ifdef FAKE_TENSORRT
EXPORT int32_t getInferLibVersion() {
  return FAKE_TENSORRT;
}
#endif

#ifdef FAKE_PLUGINS
EXPORT int32_t kraken_plugins_interface() {
  return FAKE_INTERFACE;
}
EXPORT int32_t kraken_plugins_tensorrt_version() {
  return FAKE_PLUGINS;
}
#define NOTHING(name) \
  EXPORT void name() {}
NOTHING(kraken_plugins_version)
NOTHING(kraken_plugins_architectures)
NOTHING(kraken_plugins_last_error)
NOTHING(kraken_communicator_create)
NOTHING(kraken_communicator_destroy)
NOTHING(kraken_communicator_status)
NOTHING(kraken_communicator_abort)
NOTHING(kraken_communicator_times)
NOTHING(kraken_communicator_transport)
NOTHING(kraken_shortlists_enqueue)
NOTHING(kraken_kv_cache_create)
NOTHING(kraken_kv_cache_destroy)
NOTHING(kraken_bind)
#ifndef FAKE_NO_UNBIND
NOTHING(kraken_unbind)
#endif
#endif

#ifdef FAKE_OPENER
EXPORT const void* kraken_tensorrt_open(const char*, void*, void*) {
  return nullptr;
}
#endif
