#include "kv_cache/kv_cache.h"

#include <limits>
#include <string>

#include "common/error.h"

namespace kraken::plugins {
namespace {

static_assert(KRAKEN_FLOAT32 == static_cast<int>(kernels::DType::Float32));
static_assert(KRAKEN_FLOAT16 == static_cast<int>(kernels::DType::Float16));
static_assert(KRAKEN_BFLOAT16 == static_cast<int>(kernels::DType::BFloat16));

void require_between(const char* name, int32_t value, int32_t least, int32_t most) {
  if (value >= least && value <= most) return;
  throw PluginError(std::string(name) + " must be from " + std::to_string(least) + " to " +
                    std::to_string(most) + ", got " + std::to_string(value));
}

int64_t layer_bytes_of(const kraken_kv_cache_options& options) {
  kernels::AttentionShape shape;
  shape.dtype = static_cast<kernels::DType>(options.element);
  shape.kv_heads = options.heads;
  shape.head_dim = options.head_dim;
  return options.blocks * kernels::kv_block_bytes(shape, options.block_tokens);
}

}  // namespace

int64_t KvCache::bytes_of(const kraken_kv_cache_options& options) {
  if (options.struct_size != static_cast<int32_t>(sizeof(options))) {
    throw PluginError("struct_size must be " + std::to_string(sizeof(options)) + ", got " +
                      std::to_string(options.struct_size));
  }
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
  require_between("element", options.element, KRAKEN_FLOAT32, KRAKEN_BFLOAT16);
  require_between("layers", options.layers, 1, 1 << 16);
  require_between("heads", options.heads, 1, 1 << 16);
  require_between("head_dim", options.head_dim, 1, kernels::kMaxHeadDim);
  require_between("block_tokens", options.block_tokens, 1, kernels::kMaxBlockTokens);
  if ((options.block_tokens & (options.block_tokens - 1)) != 0) {
    throw PluginError("block_tokens must be a power of two, got " + std::to_string(options.block_tokens));
  }
  require_between("blocks", options.blocks, 1, kMost);
  // Factors up to 2^31, 2^16, 2^29 (a block's 2 · 2^16 · 2^12 · 2^10 bytes at most) may pass 2^63.
  const double bytes =
      static_cast<double>(layer_bytes_of({options.struct_size, options.element, 1, options.heads,
                                          options.head_dim, options.block_tokens, 1})) *
      options.blocks * options.layers;
  if (bytes > 1e18) throw PluginError("the cache would take more than 10^18 bytes");
  return layer_bytes_of(options) * options.layers;
}

KvCache::KvCache(const kraken_kv_cache_options& options) : options_(options) {
  const int64_t bytes = bytes_of(options);
  layer_bytes_ = bytes / options.layers;
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(bytes));
  const std::string what = "allocating a key/value cache of " + std::to_string(bytes) + " bytes";
  check_cuda(error, what.c_str());
  data_ = static_cast<char*>(data);
}

KvCache::~KvCache() {
  cudaFree(data_);
}

}  // namespace kraken::plugins
