// TensorRT-LLM's attention plugin. Its fields are not written down here by position or taken on trust: the
// creator in the registry says which it has and of which type (for one of them wrongly), and each is given by
// name. One that we do not know, or that it does not have, is an error that names it, because this plugin
// reads what it wants and checks little.
#pragma once

#include <NvInfer.h>

#include <map>
#include <string>
#include <vector>

#include "backend/tensorrt/layers.h"
#include "model/graph.h"

namespace kraken::trtllm {

struct AttentionShape {
  int true_head_dim = 0;
  int max_context = 0;
  int tokens_per_block = 64;
  int max_positions = 0;
  bool fused = true;  // kernels for whole prompts, which have no float32
  DType dtype = DType::BFloat16;
};

// Values by name for one layer of a rank. `graph` has padded heads (pad_heads.h).
std::map<std::string, double> attention_fields(const Graph& graph, const AttentionShape& shape, int layer);

// A layer of plugin GPTAttention. Throws ERR_BACKEND_UNAVAILABLE: the registry has no such plugin, or one
// whose fields are others than `fields`; ERR_INTERNAL where it or TensorRT refuses.
tensorrt::Tensor add_gpt_attention(nvinfer1::INetworkDefinition& network, const std::string& layer,
                                   const std::map<std::string, double>& fields,
                                   const std::vector<tensorrt::Tensor>& inputs);

}  // namespace kraken::trtllm
