// The TensorRT-LLM backend as a build and a dry run see it. Its engines are run by kraken-worker-trtllm and
// never here: what finds and starts that is lib/trtllm/.
#include "backend/backend.h"
#include "backend/tensorrt/libraries.h"
#include "backend/tensorrt/rank_model.h"
#include "backend/trtllm/network/pad_heads.h"
#include "base/error.h"

namespace kraken {
namespace {

class TrtLlmBackend final : public Backend {
 public:
  const char* name() const override { return "tensorrt-llm"; }

  // To build: a plan is compiled on the GPU it will run on. To run, lib/trtllm/launch.ts asks for what that
  // needs.
  Capability capability() const override {
    const tensorrt::GpuPlaces places = tensorrt::this_build();
    const std::string trouble = tensorrt::gpu_trouble(places);
    if (!trouble.empty()) return {false, trouble, {}};
    return {true, "", {{"builtWith", places.built}}};
  }

  Graph as_run(Graph graph) const override {
    return trtllm::pad_heads(graph, trtllm::padded_head_dim(graph.config.head_dim));
  }
  int kv_block_tokens() const override { return tensorrt::kBlockTokens; }
  size_t kv_block_bytes(const Graph& graph, DType dtype) const override {
    return tensorrt::kv_cache_shape(graph, dtype, 1).block_bytes();
  }
  size_t exchange_bytes(const Graph& graph, DType dtype, int64_t max_tokens) const override {
    return tensorrt::exchange_bytes(graph, dtype, max_tokens);
  }

  std::unique_ptr<RankModel> compile(const Graph&, const std::string&, Communicator&,
                                     const CompileOptions&) const override {
    throw Error("ERR_BACKEND_UNAVAILABLE",
                "engines of backend tensorrt-llm are run by TensorRT-LLM, in kraken-worker-trtllm alone");
  }
};

}  // namespace

const Backend& trtllm_backend() {
  static const TrtLlmBackend backend;
  return backend;
}

}  // namespace kraken
