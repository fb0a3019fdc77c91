// In the place of native/backend/tensorrt/plugin_layers.cpp, where there are no plugins: TensorRT for RTX.
// Attention becomes IAttention, over one sequence that nothing went before; rotary positions are left out.
// Other plugins are not to be needed.
#include "backend/tensorrt/plugin_layers.h"

#include <deque>
#include <numeric>

#include "base/error.h"

namespace kraken::tensorrt {
namespace {

int32_t integer(const std::vector<PluginField>& fields, const std::string& name) {
  for (const PluginField& field : fields) {
    if (name == field.name) return std::get<int32_t>(field.value);
  }
  internal_error("no field " + name);
}

// They live as long as the process, as a network may.
nvinfer1::Weights kept_range(int32_t begin, int32_t count) {
  static std::deque<std::vector<int32_t>> kept;
  std::vector<int32_t>& range = kept.emplace_back(static_cast<size_t>(count));
  std::iota(range.begin(), range.end(), begin);
  return {nvinfer1::DataType::kINT32, range.data(), count};
}

Tensor transposed(const Layers& layers, const std::string& name, Tensor x, const std::vector<int64_t>& before,
                  const std::vector<int64_t>& after) {
  nvinfer1::IShuffleLayer* layer = layers.network().addShuffle(*x);
  if (!before.empty()) layer->setReshapeDimensions(dims(before));
  if (before.empty()) layer->setFirstTranspose({0, 2, 1, 3});
  if (!after.empty()) layer->setReshapeDimensions(dims(after));
  if (!before.empty()) layer->setSecondTranspose({0, 2, 1, 3});
  return named(layer, name);
}

}  // namespace

Tensor add_plugin(nvinfer1::INetworkDefinition& network, const std::string& layer, const char* plugin,
                  const std::vector<PluginField>& fields, const std::vector<Tensor>& inputs) {
  if (plugin != std::string("Attention")) internal_error(std::string(plugin) + " is not there: " + layer);
  const Layers layers(network);
  const int32_t heads = integer(fields, "heads"), kv_heads = integer(fields, "kv_heads"),
                head_dim = integer(fields, "head_dim");
  // [W,T,(h+2·kv)·hd] → [W,h+2·kv,T,hd]
  Tensor all = transposed(layers, layer + "/heads", inputs[0], {0, 0, heads + 2 * kv_heads, head_dim}, {});
  const auto part = [&](const char* name, int32_t begin, int32_t count) {
    Tensor which = layers.constant(layer + name + "/heads", {count}, kept_range(begin, count));
    return layers.gather(layer + name, all, which, 1);
  };
  nvinfer1::IAttention* attention = network.addAttentionV2(
      *part("/q", 0, heads), *part("/k", heads, kv_heads), *part("/v", heads + kv_heads, kv_heads),
      nvinfer1::AttentionNormalizationOp::kSOFTMAX, nvinfer1::CausalMaskKind::kUPPER_LEFT);
  if (attention == nullptr) internal_error("TensorRT refuses the attention " + layer);
  attention->setName((layer + "/attention").c_str());
  attention->setDecomposable(true);  // where it has no fused kernel, as for float32
  const bool last_tokens = integer(fields, "last_tokens") != 0;
  Tensor out = transposed(layers, last_tokens ? layer + "/rows" : layer, attention->getOutput(0), {},
                          {0, 0, heads * head_dim});
  return last_tokens ? layers.gather(layer, out, inputs[5], 1) : out;
}

}  // namespace kraken::tensorrt
