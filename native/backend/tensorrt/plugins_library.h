// The C interface of libkraken_plugins_trtN.so (plugins/kraken_plugins.h) as it is found at run time, and
// what a rank makes with it: its communicator and its KV cache.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/tensorrt/device.h"
#include "base/dtype.h"
#include "comm/communicator.h"
#include "kraken_plugins.h"

namespace kraken::tensorrt {

#define KRAKEN_PLUGIN_FUNCTIONS(X)   \
  X(kraken_plugins_interface)        \
  X(kraken_plugins_version)          \
  X(kraken_plugins_tensorrt_version) \
  X(kraken_plugins_architectures)    \
  X(kraken_plugins_last_error)       \
  X(kraken_communicator_create)      \
  X(kraken_communicator_destroy)     \
  X(kraken_communicator_status)      \
  X(kraken_communicator_abort)       \
  X(kraken_communicator_times)       \
  X(kraken_communicator_transport)   \
  X(kraken_shortlists_enqueue)       \
  X(kraken_kv_cache_create)          \
  X(kraken_kv_cache_destroy)         \
  X(kraken_bind)                     \
  X(kraken_unbind)

struct PluginsLibrary {
#define KRAKEN_MEMBER(name) decltype(&::name) name = nullptr;
  KRAKEN_PLUGIN_FUNCTIONS(KRAKEN_MEMBER)
#undef KRAKEN_MEMBER
};

// From what dlopen() gave for `path`. Throws ERR_BACKEND_UNAVAILABLE: a function is missing, or the interface
// is another.
PluginsLibrary plugins_library(void* handle, const std::string& path);

// Throws ERR_BACKEND_UNAVAILABLE when the plugins have no code for the device.
void check_architecture(const PluginsLibrary& plugins, const DeviceInfo& device);

using DeviceCommunicator = std::unique_ptr<kraken_communicator, std::function<void(kraken_communicator*)>>;
using DeviceKvCache = std::unique_ptr<kraken_kv_cache, std::function<void(kraken_kv_cache*)>>;

// How ranks exchange sums on their devices; `group` brings them together while it is made,
// by all ranks at once. `capacity`: bytes of the largest exchange; `algorithms`: empty, or a table
// (plugins/kernels/algorithm.h); `is_timed`: whether collective_times() are wanted. Throws ERR_COMMUNICATION:
// no peer access and no NCCL, or NCCL does not start; ERR_RANK_LOST: a rank is gone meanwhile.
DeviceCommunicator make_communicator(const PluginsLibrary& plugins, Communicator& group, bool communication,
                                     int64_t capacity, const std::string& algorithms, bool is_timed);
CollectiveTimes collective_times(const PluginsLibrary& plugins, const kraken_communicator& communicator);
// Throws ERR_RANK_LOST when an exchange failed.
void check_communicator(const PluginsLibrary& plugins, const kraken_communicator& communicator);

struct KvCacheShape {
  DType dtype = DType::BFloat16;
  int layers = 0, heads = 0, head_dim = 0;  // heads: ways times key/value heads of one
  int block_tokens = 0, blocks = 0;

  size_t block_bytes() const;  // of all layers
};
// Throws ERR_OUT_OF_MEMORY.
DeviceKvCache make_kv_cache(const PluginsLibrary& plugins, const KvCacheShape& shape);

}  // namespace kraken::tensorrt
