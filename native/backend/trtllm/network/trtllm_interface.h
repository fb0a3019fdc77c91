// Networks that TensorRT-LLM's runtime runs: its input tensors by their names, attention by its plugin over
// its paged cache, and logits of the whole vocabulary on every rank, since each samples for itself.
//
// The runtime walks the inputs that an engine has and gives each what it knows under that name, so an engine
// declares those it uses and no others. What it keeps in host memory (host_…) it binds like the rest.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "backend/tensorrt/runtime_interface.h"
#include "backend/trtllm/network/gpt_attention.h"

namespace kraken::trtllm {

struct NetworkLimits {
  int max_batch_size = 0, max_input_len = 0, max_seq_len = 0, max_num_tokens = 0;
  int tokens_per_block = 64;
  bool gathers_context_logits = false;  // then all tokens' logits are wanted
  int blocks() const { return (max_seq_len + tokens_per_block - 1) / tokens_per_block; }
};

// Keep it until the engine is built: the network points into it.
class TrtLlmInterface : public tensorrt::RuntimeInterface {
 public:
  // `true_head_dim`: before pad_heads().
  TrtLlmInterface(const NetworkLimits& limits, int true_head_dim, DType dtype);

  void add_inputs(const tensorrt::Layers& layers, const Graph& graph) override;
  tensorrt::Tensor ids() const override { return ids_; }
  tensorrt::Tensor positions() const override { return positions_; }
  tensorrt::Tensor wanted_rows() const override { return wanted_rows_; }
  tensorrt::Tensor attention(const tensorrt::Layers& layers, const Graph& graph, const Op& op,
                             tensorrt::Tensor qkv) override;
  tensorrt::Tensor logits(const tensorrt::Layers& layers, const Graph& graph,
                          tensorrt::Tensor columns) override;

 protected:
  // packed[T, queries of all ways, then keys, then values] → [T,W·h·hd]
  virtual tensorrt::Tensor attend(const tensorrt::Layers& layers, const Graph& graph, const Op& op,
                                  tensorrt::Tensor packed);

 private:
  template <typename Number>
  nvinfer1::Weights keep(std::vector<Number> numbers, nvinfer1::DataType type);
  tensorrt::Tensor indices(const tensorrt::Layers& layers, const std::string& name,
                           std::vector<int32_t> values);
  tensorrt::Tensor placed(const tensorrt::Layers& layers, const std::string& name, tensorrt::Tensor x,
                          int64_t begin, int64_t width);
  void add_rotary_tables(const tensorrt::Layers& layers, const Graph& graph);

  const NetworkLimits limits_;
  const AttentionShape shape_;
  tensorrt::Tensor ids_ = nullptr, positions_ = nullptr, wanted_rows_ = nullptr;
  std::vector<tensorrt::Tensor> before_lengths_, after_lengths_, rotary_;  // attention's inputs, in its order
  std::list<std::vector<std::byte>> kept_;
};

// Profiles for its inputs, as TensorRT-LLM chooses them by the number of tokens of a step.
void configure(nvinfer1::IBuilder& builder, const nvinfer1::INetworkDefinition& network,
               const NetworkLimits& limits, nvinfer1::IBuilderConfig& config);

}  // namespace kraken::trtllm
