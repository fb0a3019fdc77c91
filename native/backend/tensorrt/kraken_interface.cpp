#include "backend/tensorrt/kraken_interface.h"

#include <cmath>
#include <vector>

#include "backend/tensorrt/plugin_layers.h"

namespace kraken::tensorrt {

void KrakenInterface::add_inputs(const Layers& layers, const Graph&) {
  ids_ = layers.input(kIds, {-1}, {"T"});
  positions_ = layers.input(kPositions, {-1}, {"T"});
  sequence_begins_ = layers.input(kSequenceBegins, {-1}, {"S+1"});
  past_lengths_ = layers.input(kPastLengths, {-1}, {"S"});
  block_tables_ = layers.input(kBlockTables, {-1, options_.blocks()}, {"S"});
  wanted_rows_ = layers.input(kWantedRows, {-1}, {"B"});
}

Tensor KrakenInterface::attention(const Layers& layers, const Graph& graph, const Op& op, Tensor qkv) {
  const ModelConfig& config = graph.config;
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config.head_dim)));
  const int style = config.rotary.dims == 0 ? 0 : config.rotary.interleaved ? 2 : 1;
  std::vector<Tensor> inputs = {qkv, positions_, sequence_begins_, past_lengths_, block_tables_};
  if (op.last_tokens) inputs.push_back(wanted_rows_);
  std::vector<PluginField> fields = {{"layer", op.layer},
                                     {"ways", graph.ways},
                                     {"heads", graph.heads},
                                     {"kv_heads", graph.kv_heads},
                                     {"head_dim", config.head_dim},
                                     {"scale", scale},
                                     {"rotary_dims", config.rotary.dims},
                                     {"rotary_base", static_cast<float>(config.rotary.base)},
                                     {"rotary_style", style},
                                     {"last_tokens", op.last_tokens ? 1 : 0},
                                     {"block_tokens", options_.block_tokens},
                                     {"max_context", options_.max_context}};
  if (const std::vector<double>& scales = config.rotary.frequency_scale; !scales.empty())
    fields.push_back({"rotary_frequency_scale", std::vector<float>(scales.begin(), scales.end())});
  return add_plugin(layers.network(), op.name, "Attention", fields, inputs);
}

}  // namespace kraken::tensorrt
