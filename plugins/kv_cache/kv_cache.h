// The keys and values of a rank's sequences, all layers, in blocks of tokens on its device. The bookkeeping
// (which block belongs to whom) is the host's; here is the memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/attention.h"
#include "kraken_plugins.h"

namespace kraken::plugins {

class KvCache {
 public:
  // Throws PluginError, as bytes_of() does: which option is wrong, or that there is no memory for it.
  explicit KvCache(const kraken_kv_cache_options& options);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  static int64_t bytes_of(const kraken_kv_cache_options& options);

  const kraken_kv_cache_options& options() const { return options_; }
  kernels::DType dtype() const { return static_cast<kernels::DType>(options_.element); }
  void* layer(int32_t index) const { return data_ + index * layer_bytes_; }

 private:
  kraken_kv_cache_options options_;
  int64_t layer_bytes_;
  char* data_ = nullptr;
};

}  // namespace kraken::plugins
