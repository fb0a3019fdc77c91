#include "backend/tensorrt/plugins_library.h"

#include <dlfcn.h>

#include <sstream>

#include "backend/tensorrt/engine_facts.h"
#include "base/error.h"

namespace kraken::tensorrt {
namespace {

kraken_element element_of(DType dtype) {
  switch (dtype) {
    case DType::Float32:
      return KRAKEN_FLOAT32;
    case DType::Float16:
      return KRAKEN_FLOAT16;
    case DType::BFloat16:
      return KRAKEN_BFLOAT16;
    case DType::Int8:
      break;
  }
  throw Error("ERR_OPTION", "backend tensorrt has no key/value cache of int8");
}

// Nothing may be thrown through C: what fails here fails again, on this thread, at the next meeting.
int32_t all_gather(void* group, const void* mine, void* all, int64_t bytes) {
  try {
    static_cast<Communicator*>(group)->all_gather(mine, all, static_cast<size_t>(bytes));
    return 0;
  } catch (const std::exception&) {
    return -1;
  }
}

int32_t is_lost(void* group) {
  return static_cast<Communicator*>(group)->is_lost() ? 1 : 0;
}

}  // namespace

PluginsLibrary plugins_library(void* handle, const std::string& path) {
  PluginsLibrary library;
  const auto find = [&](const char* name) {
    void* function = dlsym(handle, name);
    if (function == nullptr) {
      throw Error("ERR_BACKEND_UNAVAILABLE", path + " has no " + name +
                                                 ": it is of another build than this; build both again "
                                                 "(`npm run build:gpu`)");
    }
    return function;
  };
#define KRAKEN_FIND(name) library.name = reinterpret_cast<decltype(&::name)>(find(#name));
  KRAKEN_PLUGIN_FUNCTIONS(KRAKEN_FIND)
#undef KRAKEN_FIND
  if (const int32_t found = library.kraken_plugins_interface(); found != KRAKEN_PLUGINS_INTERFACE) {
    throw Error("ERR_BACKEND_UNAVAILABLE",
                path + " has interface " + std::to_string(found) + ", this build needs " +
                    std::to_string(KRAKEN_PLUGINS_INTERFACE) + ": build both again (`npm run build:gpu`)");
  }
  return library;
}

// Code for sm_80 runs on every 8.x from 8.0 on, and so forth.
void check_architecture(const PluginsLibrary& plugins, const DeviceInfo& device) {
  const std::string has = plugins.kraken_plugins_architectures();
  std::istringstream list(has);
  for (int architecture = 0; list >> architecture;) {
    const int capability = device.compute_capability;
    if (architecture / 10 == capability / 10 && architecture <= capability) return;
  }
  throw Error("ERR_BACKEND_UNAVAILABLE", device.name + " has compute capability " +
                                             dotted_capability(device.compute_capability) +
                                             ", but the plugins of this build have code for sm " + has +
                                             " alone: build them with -DKRAKEN_CUDA_ARCHITECTURES=" +
                                             std::to_string(device.compute_capability) + "-real");
}

DeviceCommunicator make_communicator(const PluginsLibrary& plugins, Communicator& group, bool communication,
                                     int64_t capacity, const std::string& algorithms, bool is_timed) {
  kraken_communicator_options options = {};
  options.struct_size = sizeof options;
  // Without communication a rank adds up its own ways, as if it were alone.
  options.rank = communication ? group.rank() : 0;
  options.ranks = communication ? group.size() : 1;
  options.transport = KRAKEN_TRANSPORT_AUTO;
  options.capacity = capacity;
  options.all_gather = all_gather;
  options.is_lost = is_lost;
  options.context = &group;
  options.algorithms = algorithms.empty() ? nullptr : algorithms.c_str();
  options.is_timed = is_timed ? 1 : 0;
  kraken_communicator* made = plugins.kraken_communicator_create(&options);
  if (made == nullptr && group.is_lost()) {
    throw Error("ERR_RANK_LOST",
                std::string("a rank was lost while the GPUs met: ") + plugins.kraken_plugins_last_error());
  }
  if (made == nullptr) {
    throw Error("ERR_COMMUNICATION",
                std::string("the GPUs cannot exchange sums: ") + plugins.kraken_plugins_last_error() +
                    ". Ranks need peer access to each other (`nvidia-smi topo -p2p r` shows it), or NCCL "
                    "(libnccl.so.2)");
  }
  return {made, plugins.kraken_communicator_destroy};
}

void check_communicator(const PluginsLibrary& plugins, const kraken_communicator& communicator) {
  if (plugins.kraken_communicator_status(&communicator) == 0) return;
  throw Error("ERR_RANK_LOST",
              std::string("an exchange between the GPUs failed: ") + plugins.kraken_plugins_last_error());
}

CollectiveTimes collective_times(const PluginsLibrary& plugins, const kraken_communicator& communicator) {
  kraken_exchange_times times = {};
  plugins.kraken_communicator_times(&communicator, &times);
  return {times.exposed, times.collective, times.hidden, times.exchanges};
}

// A row of the cache is whole vectors of 16 bytes (plugins/kernels/attention.h).
size_t KvCacheShape::block_bytes() const {
  const size_t row = (static_cast<size_t>(head_dim) * size_of(dtype) + 15) / 16 * 16;
  return size_t{2} * static_cast<size_t>(layers) * static_cast<size_t>(heads) *
         static_cast<size_t>(block_tokens) * row;
}

DeviceKvCache make_kv_cache(const PluginsLibrary& plugins, const KvCacheShape& shape) {
  kraken_kv_cache_options options = {};
  options.struct_size = sizeof options;
  options.element = element_of(shape.dtype);
  options.layers = shape.layers;
  options.heads = shape.heads;
  options.head_dim = shape.head_dim;
  options.block_tokens = shape.block_tokens;
  options.blocks = shape.blocks;
  kraken_kv_cache* made = plugins.kraken_kv_cache_create(&options);
  if (made == nullptr) {
    throw Error("ERR_OUT_OF_MEMORY", std::string("the key/value cache cannot be made: ") +
                                         plugins.kraken_plugins_last_error() +
                                         "; lower kvCacheTokens, maxBatchSize or maxSequenceLength");
  }
  return {made, plugins.kraken_kv_cache_destroy};
}

}  // namespace kraken::tensorrt
