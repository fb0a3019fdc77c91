// What the library exports: creators for TensorRT, and the C interface of kraken_plugins.h.
#include <NvInferRuntime.h>
#include <NvInferVersion.h>

#include <array>
#include <string>

#include "all_reduce_plugin/all_reduce_plugin.h"
#include "attention_plugin/attention_plugin.h"
#include "binding/binding.h"
#include "common/creator.h"
#include "common/log.h"
#include "communicator/make_communicator.h"
#include "join_add_plugin/join_add_plugin.h"
#include "join_norm_plugin/join_norm_plugin.h"
#include "kraken_plugins.h"
#include "kv_cache/kv_cache.h"
#include "shortlists/shortlists.h"
#include "start_norm_plugin/start_norm_plugin.h"

#define KRAKEN_EXPORT extern "C" __attribute__((visibility("default")))

using namespace kraken::plugins;

struct kraken_communicator {
  int32_t rank = 0, ranks = 1;
  std::unique_ptr<DeviceCommunicator> communicator;
  std::string transport;
};

struct kraken_kv_cache {
  KvCache cache;
};

// --- for TensorRT
// ---------------------------------------------------------------------------------------------------

KRAKEN_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  set_logger_finder(finder);
}

KRAKEN_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static Creator<StartNormPlugin> start_norm;
  static Creator<JoinNormPlugin> join_norm;
  static Creator<JoinAddPlugin> join_add;
  static Creator<AllReducePlugin> all_reduce;
  static Creator<AttentionPlugin> attention;
  static const std::array<nvinfer1::IPluginCreatorInterface*, 5> creators = {
      &start_norm, &join_norm, &join_add, &all_reduce, &attention};
  count = static_cast<int32_t>(creators.size());
  return creators.data();
}

// --- kraken_plugins.h
// -----------------------------------------------------------------------------------------------

KRAKEN_EXPORT int32_t kraken_plugins_interface() {
  return KRAKEN_PLUGINS_INTERFACE;
}

KRAKEN_EXPORT const char* kraken_plugins_version() {
  return KRAKEN_VERSION;
}

KRAKEN_EXPORT int32_t kraken_plugins_tensorrt_version() {
  return NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH;
}

KRAKEN_EXPORT const char* kraken_plugins_architectures() {
  return KRAKEN_ARCHITECTURES;
}

KRAKEN_EXPORT const char* kraken_plugins_last_error() {
  return last_error();
}

KRAKEN_EXPORT int32_t kraken_plugins_register(void* plugin_registry) {
  int32_t count = 0;
  auto* const* creators = getCreators(count);
  auto* registry = static_cast<nvinfer1::IPluginRegistry*>(plugin_registry);
  for (int32_t i = 0; i < count; ++i) {
    if (registry->registerCreator(*creators[i], KRAKEN_PLUGINS_NAMESPACE)) continue;
    report_error("TensorRT did not take a plugin of ours");
    return -1;
  }
  return count;
}

KRAKEN_EXPORT kraken_communicator* kraken_communicator_create(const kraken_communicator_options* options) {
  return guarded("communicator", static_cast<kraken_communicator*>(nullptr), [&]() -> kraken_communicator* {
    auto made = std::make_unique<kraken_communicator>();
    made->rank = options->rank;
    made->ranks = options->ranks;
    made->communicator = make_communicator(*options);
    if (options->is_timed != 0) made->communicator->time_exchanges();
    made->transport = made->communicator->transport();
    return made.release();
  });
}

KRAKEN_EXPORT void kraken_communicator_destroy(kraken_communicator* communicator) {
  delete communicator;
}

KRAKEN_EXPORT int32_t kraken_communicator_status(const kraken_communicator* communicator) {
  return guarded("communicator", -1, [&] {
    const std::string failure = communicator->communicator->failure();
    if (failure.empty()) return 0;
    report_error(failure);
    return -1;
  });
}

KRAKEN_EXPORT void kraken_communicator_abort(kraken_communicator* communicator, int32_t lost_rank) {
  communicator->communicator->abort(lost_rank);
}

KRAKEN_EXPORT void kraken_communicator_times(const kraken_communicator* communicator,
                                             kraken_exchange_times* times) {
  const kraken::kernels::ExchangeTimes total = communicator->communicator->exchange_times();
  *times = {total.exposed, total.collective, total.hidden, total.exchanges};
}

KRAKEN_EXPORT const char* kraken_communicator_transport(const kraken_communicator* communicator) {
  return communicator->transport.c_str();
}

KRAKEN_EXPORT int32_t kraken_shortlists_enqueue(kraken_communicator* communicator,
                                                const kraken_shortlists* shortlists, void* stream) {
  return guarded("shortlists", -1, [&] {
    enqueue_shortlists(*communicator->communicator, communicator->rank, communicator->ranks, *shortlists,
                       static_cast<cudaStream_t>(stream));
    return 0;
  });
}

KRAKEN_EXPORT int64_t kraken_kv_cache_bytes(const kraken_kv_cache_options* options) {
  return guarded("key/value cache", int64_t{-1}, [&] { return KvCache::bytes_of(*options); });
}

KRAKEN_EXPORT kraken_kv_cache* kraken_kv_cache_create(const kraken_kv_cache_options* options) {
  return guarded("key/value cache", static_cast<kraken_kv_cache*>(nullptr),
                 [&] { return new kraken_kv_cache{KvCache(*options)}; });
}

KRAKEN_EXPORT void kraken_kv_cache_destroy(kraken_kv_cache* cache) {
  delete cache;
}

KRAKEN_EXPORT void kraken_bind(const kraken_binding* binding) {
  Binding bound;
  if (binding != nullptr && binding->communicator != nullptr) {
    bound.communicator = binding->communicator->communicator.get();
  }
  if (binding != nullptr && binding->kv_cache != nullptr) bound.kv_cache = &binding->kv_cache->cache;
  bind(bound);
}

KRAKEN_EXPORT int32_t kraken_unbind() {
  return unbind();
}
