// What differs between those who run a network: the inputs they give, how attention finds its cache, which
// rows' logits are wanted, and what form logits have. Everything between is the same network (lowering.h).
// Ours is kraken_interface.h, TensorRT-LLM's backend/trtllm/network/.
#pragma once

#include "backend/tensorrt/layers.h"
#include "model/graph.h"

namespace kraken::tensorrt {

class RuntimeInterface {
 public:
  virtual ~RuntimeInterface() = default;
  // First, once.
  virtual void add_inputs(const Layers& layers, const Graph& graph) = 0;
  virtual Tensor ids() const = 0;        // [T]
  virtual Tensor positions() const = 0;  // [T]
  // Indices into the step's tokens, ascending; null: all of them.
  virtual Tensor wanted_rows() const = 0;  // [B]
  // qkv[W,T,(h+2·kv)·hd] → [W,T,h·hd], or [W,B,h·hd] for an op with last_tokens.
  virtual Tensor attention(const Layers& layers, const Graph& graph, const Op& op, Tensor qkv) = 0;
  // This rank's columns of the vocabulary [B,V_r] → what becomes the output.
  virtual Tensor logits(const Layers& layers, const Graph& graph, Tensor columns) = 0;
};

}  // namespace kraken::tensorrt
