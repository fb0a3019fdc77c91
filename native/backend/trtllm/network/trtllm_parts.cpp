#include "backend/trtllm/network/trtllm_parts.h"

#include <dlfcn.h>

#include <string>

#include "base/error.h"

namespace kraken::trtllm {
namespace {

// Once for a process, and for good: TensorRT keeps pointers into the library.
void register_plugins(nvinfer1::ILogger& log) {
  constexpr char kLibrary[] = "libnvinfer_plugin_tensorrt_llm.so";
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    const char* why = dlerror();
    throw Error("ERR_BACKEND_UNAVAILABLE",
                std::string("TensorRT-LLM's plugins are not found (") + (why != nullptr ? why : kLibrary) +
                    "): install tensorrt-llm==1.2.1, or name its folder in TENSORRT_LLM_ROOT");
  }
  using Init = bool(void*, const char*);
  auto* init = reinterpret_cast<Init*>(dlsym(library, "initTrtLlmPlugins"));
  if (init == nullptr || !init(&log, "tensorrt_llm")) {
    throw Error("ERR_BACKEND_UNAVAILABLE", std::string(kLibrary) + " does not register its plugins");
  }
}

}  // namespace

tensorrt::WeightStore TrtLlmParts::lower(const tensorrt::PlanRequest& request,
                                         const tensorrt::LoweringOptions& options,
                                         nvinfer1::IBuilder& builder, nvinfer1::ILogger& log,
                                         nvinfer1::INetworkDefinition& network,
                                         nvinfer1::IBuilderConfig& config) {
  register_plugins(log);
  const Graph& plain = *request.graph;
  const NetworkLimits limits = {request.limits.max_sequences, request.trtllm_max_input,
                                request.limits.max_context,   request.limits.max_tokens,
                                request.block_tokens,         request.gathers_context_logits};
  graph_ = pad_heads(plain, padded_head_dim(plain.config.head_dim));
  weights_.emplace(plain, graph_, *request.weights);
  interface_.emplace(limits, plain.config.head_dim, request.dtype);
  tensorrt::WeightStore store = tensorrt::lower(graph_, *weights_, options, network, *interface_);
  configure(builder, network, limits, config);
  return store;
}

}  // namespace kraken::trtllm
