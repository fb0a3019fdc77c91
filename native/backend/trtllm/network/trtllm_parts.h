// What a plan for TensorRT-LLM is lowered from and must outlive its build: the padded Graph, its weights, its
// interface.
#pragma once

#include <NvInfer.h>

#include <optional>

#include "backend/tensorrt/device.h"
#include "backend/tensorrt/lowering.h"
#include "backend/trtllm/network/pad_heads.h"
#include "backend/trtllm/network/trtllm_interface.h"

namespace kraken::trtllm {

class TrtLlmParts {
 public:
  // Registers TensorRT-LLM's plugins, then lowers and adds the profiles. Throws what lower() does, and
  // ERR_BACKEND_UNAVAILABLE when its plugin library is not found or is of another version.
  tensorrt::WeightStore lower(const tensorrt::PlanRequest& request, const tensorrt::LoweringOptions& options,
                              nvinfer1::IBuilder& builder, nvinfer1::ILogger& log,
                              nvinfer1::INetworkDefinition& network, nvinfer1::IBuilderConfig& config);

 private:
  Graph graph_;
  std::optional<PaddedWeights> weights_;
  std::optional<TrtLlmInterface> interface_;
};

}  // namespace kraken::trtllm
