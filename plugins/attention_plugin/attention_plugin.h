// Attention(qkv[W,T,(h+2·kv)·hd], positions[T], sequence_begins[S+1], past_lengths[S], block_tables[S,P],
// wanted_rows[B]?) → [W,T,h·hd], or [W,B,h·hd] with last_tokens: appends the step's keys and values to this
// layer of the bound cache, then attends, causally and sequence by sequence. Rotary positions are applied
// inside. Unbound: attends to the step's own tokens as if nothing had gone before.
#pragma once

#include <limits>
#include <vector>

#include "common/plugin.h"
#include "kernels/attention.h"

namespace kraken::plugins {

class AttentionPlugin : public Plugin {
 public:
  static constexpr const char* kName = "Attention";
  struct Attributes {
    int32_t layer = 0;
    int32_t ways = 1;          // W
    int32_t heads = 1;         // h, of one way on this rank
    int32_t kv_heads = 1;      // kv, divides heads
    int32_t head_dim = 1;      // hd
    float scale = 1;           // of scores
    int32_t rotary_style = 0;  // 0: none, 1: half-split pairs, 2: interleaved pairs
    int32_t rotary_dims = 0;   // elements of a head that turn
    float rotary_base = 10000;
    std::vector<float> rotary_frequency_scale = {1};  // of all pairs, or one for each
    int32_t last_tokens = 0;                          // 1: only the wanted rows, which are input 5
    int32_t block_tokens = 64;                        // of the cache
    int32_t max_context = 1;                          // tokens of the longest sequence
  };
  template <typename Visitor>
  static void describe(Attributes& a, Visitor& visitor) {
    constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
    visitor.integer("layer", a.layer, 0, kMost);
    visitor.integer("ways", a.ways, 1, 1 << 12);
    visitor.integer("heads", a.heads, 1, 1 << 12);
    visitor.integer("kv_heads", a.kv_heads, 1, 1 << 12);
    visitor.integer("head_dim", a.head_dim, 1, kernels::kMaxHeadDim);
    visitor.positive("scale", a.scale);
    visitor.integer("rotary_style", a.rotary_style, 0, 2);
    visitor.integer("rotary_dims", a.rotary_dims, 0, kernels::kMaxHeadDim);
    visitor.positive("rotary_base", a.rotary_base);
    visitor.positives("rotary_frequency_scale", a.rotary_frequency_scale);
    visitor.integer("last_tokens", a.last_tokens, 0, 1);
    visitor.integer("block_tokens", a.block_tokens, 1, kernels::kMaxBlockTokens);
    visitor.integer("max_context", a.max_context, 1, 1 << 30);
  }

  // Throws PluginError where fields do not go together.
  explicit AttentionPlugin(const Attributes& attributes);
  nvinfer1::IPluginV3* clone() noexcept override;
  size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t nb_inputs,
                          const nvinfer1::DynamicPluginTensorDesc* outputs,
                          int32_t nb_outputs) const noexcept override;

 protected:
  AttentionPlugin(const AttentionPlugin& other);
  Inputs inputs() const override { return {1, 0, 0, 4 + a_.last_tokens}; }
  void check_shapes(std::span<const nvinfer1::Dims> inputs) const override;
  void shape_output(const nvinfer1::DimsExprs* inputs, nvinfer1::DimsExprs& output,
                    nvinfer1::IExprBuilder& builder) const override;
  void check_binding(const Binding& binding) const override;
  void run(const Call& call) override;

 private:
  // P
  int64_t table_width() const { return (a_.max_context + int64_t{a_.block_tokens} - 1) / a_.block_tokens; }
  kernels::AttentionShape shape(kernels::DType dtype) const;

  Attributes a_;
  kernels::Rotary rotary_;
};

}  // namespace kraken::plugins
