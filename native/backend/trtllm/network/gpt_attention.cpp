#include "backend/trtllm/network/gpt_attention.h"

#include <cmath>
#include <cstring>
#include <list>
#include <memory>
#include <string_view>

#include "backend/tensorrt/weight_store.h"
#include "base/error.h"

namespace kraken::trtllm {
namespace {

constexpr char kPlugin[] = "GPTAttention", kVersion[] = "1", kNamespace[] = "tensorrt_llm";

// Values of TensorRT-LLM's enumerations.
enum PositionEmbedding { kLearnedAbsolute = 0, kRopeGptJ = 1, kRopeGptNeoX = 2 };
enum RotaryScale { kNoScale = 0 };
enum AttentionMask { kCausal = 1 };
enum ContextFmha { kFmhaDisabled = 0, kFmhaEnabled = 1 };

#if NV_TENSORRT_MAJOR == 10

std::string list_of(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// The type that createPlugin() reads, which is the one that the creator lists, but for this field: it is
// listed as an int32, and anything but an int8 is refused.
nvinfer1::PluginFieldType type_of(const nvinfer1::PluginField& listed) {
  return std::string_view(listed.name) == "block_sparse_homo_head_pattern" ? nvinfer1::PluginFieldType::kINT8
                                                                           : listed.type;
}

// One value in the type that the creator wants.
class FieldValues {
 public:
  nvinfer1::PluginField field(const nvinfer1::PluginField& listed, double value) {
    const nvinfer1::PluginField wanted = {listed.name, nullptr, type_of(listed), 1};
    switch (wanted.type) {
      case nvinfer1::PluginFieldType::kINT8:
        return make<int8_t>(wanted, value);
      case nvinfer1::PluginFieldType::kINT16:
        return make<int16_t>(wanted, value);
      case nvinfer1::PluginFieldType::kINT32:
        return make<int32_t>(wanted, value);
      case nvinfer1::PluginFieldType::kFLOAT32:
        return make<float>(wanted, value);
      default:
        throw Error("ERR_BACKEND_UNAVAILABLE", std::string("GPTAttention wants field ") + wanted.name +
                                                   " of a type that no TensorRT-LLM 1.2 has");
    }
  }

 private:
  template <typename Value>
  nvinfer1::PluginField make(const nvinfer1::PluginField& wanted, double value) {
    std::vector<std::byte>& bytes = kept_.emplace_back(sizeof(Value));
    const auto converted = static_cast<Value>(value);
    std::memcpy(bytes.data(), &converted, sizeof converted);
    return {wanted.name, bytes.data(), wanted.type, 1};
  }
  std::list<std::vector<std::byte>> kept_;
};

#endif

}  // namespace

std::map<std::string, double> attention_fields(const Graph& graph, const AttentionShape& shape, int layer) {
  const ModelConfig& config = graph.config;
  const bool rotary = config.rotary.dims > 0;
  if (!config.rotary.frequency_scale.empty()) {
    throw Error("ERR_OPTION",
                "backend \"tensorrt-llm\" does not take scaled rotary frequencies yet: use backend "
                "\"tensorrt\"");
  }
  const double heads = graph.ways * graph.heads, kv_heads = graph.ways * graph.kv_heads;
  const int style = !rotary ? kLearnedAbsolute : config.rotary.interleaved ? kRopeGptJ : kRopeGptNeoX;
  return {
      {"layer_idx", layer},
      {"num_heads", heads},
      {"vision_start", -1},
      {"vision_length", -1},
      {"num_kv_heads", kv_heads},
      {"num_kv_heads_origin", kv_heads},
      {"layer_idx_in_cache_pool", layer},
      {"head_size", config.head_dim},
      {"unidirectional", 1},
      // The kernels divide by q_scaling · √head_size: what is left is the true size's.
      {"q_scaling", std::sqrt(static_cast<double>(shape.true_head_dim) / config.head_dim)},
      {"attn_logit_softcapping_scale", 0},
      {"position_embedding_type", style},
      {"rotary_embedding_dim", config.rotary.dims},
      {"rotary_embedding_base", rotary ? config.rotary.base : 10000.0},
      {"rotary_embedding_scale_type", kNoScale},
      {"rotary_embedding_scale", 1},
      {"rotary_embedding_short_m_scale", 1},
      {"rotary_embedding_long_m_scale", 1},
      {"rotary_embedding_max_positions", shape.max_positions},
      {"rotary_embedding_original_max_positions", shape.max_positions},
      {"tp_size", graph.ranks},
      {"tp_rank", graph.rank},
      {"unfuse_qkv_gemm", 0},
      {"use_logn_scaling", 0},
      {"context_fmha_type", shape.fused ? kFmhaEnabled : kFmhaDisabled},
      {"kv_cache_quant_mode", 0},
      {"remove_input_padding", 1},
      {"mask_type", kCausal},
      {"block_sparse_block_size", 64},
      {"block_sparse_homo_head_pattern", 0},
      {"block_sparse_num_local_blocks", 16},
      {"block_sparse_vertical_stride", 8},
      {"paged_kv_cache", 1},
      {"tokens_per_block", shape.tokens_per_block},
      {"type_id", static_cast<double>(static_cast<int32_t>(tensorrt::data_type(shape.dtype)))},
      {"max_context_length", shape.max_context},
      {"qkv_bias_enabled", 0},
      {"do_cross_attention", 0},
      {"max_distance", 0},
      {"pos_shift_enabled", 0},
      {"dense_context_fmha", 0},
      {"use_paged_context_fmha", shape.fused ? 1 : 0},
      {"use_fp8_context_fmha", 0},
      {"has_full_attention_mask", 0},
      {"use_cache", 1},
      {"is_spec_decoding_enabled", 0},
      {"spec_decoding_is_generation_length_variable", 0},
      {"spec_decoding_max_generation_length", 1},
      {"is_mla_enabled", 0},
      {"q_lora_rank", 0},
      {"kv_lora_rank", 0},
      {"qk_nope_head_dim", 0},
      {"qk_rope_head_dim", 0},
      {"v_head_dim", 0},
      {"fuse_fp4_quant", 0},
      {"skip_attn", 0},
      {"cp_size", 1},
      {"cp_rank", 0},
      {"cp_group", 0},
  };
}

#if NV_TENSORRT_MAJOR == 10

tensorrt::Tensor add_gpt_attention(nvinfer1::INetworkDefinition& network, const std::string& layer,
                                   const std::map<std::string, double>& fields,
                                   const std::vector<tensorrt::Tensor>& inputs) {
  auto* found = network.getBuilder().getPluginRegistry().getCreator(kPlugin, kVersion, kNamespace);
  if (found == nullptr || std::string(found->getInterfaceInfo().kind) != "PLUGIN CREATOR_V1") {
    throw Error(
        "ERR_BACKEND_UNAVAILABLE",
        "TensorRT's registry has no plugin tensorrt_llm::GPTAttention: is TensorRT-LLM 1.2 installed, and "
        "libnvinfer_plugin_tensorrt_llm.so loaded?");
  }
  auto* creator = static_cast<nvinfer1::IPluginCreator*>(found);
  const nvinfer1::PluginFieldCollection* wanted = creator->getFieldNames();
  FieldValues values;
  std::vector<nvinfer1::PluginField> given;
  std::vector<std::string> unknown, missing;
  std::map<std::string, double> left = fields;
  for (int32_t i = 0; wanted != nullptr && i < wanted->nbFields; ++i) {
    const nvinfer1::PluginField& field = wanted->fields[i];
    const auto value = left.find(field.name);
    if (value == left.end()) {
      unknown.emplace_back(field.name);
      continue;
    }
    given.push_back(values.field(field, value->second));
    left.erase(value);
  }
  left.erase("layer_idx_in_cache_pool");  // of some 1.2, not of others
  for (const auto& [name, value] : left) missing.push_back(name);
  if (!unknown.empty() || !missing.empty()) {
    throw Error("ERR_BACKEND_UNAVAILABLE",
                "this TensorRT-LLM's GPTAttention is not that of 1.2.x" +
                    (unknown.empty() ? "" : ": it has fields we do not know (" + list_of(unknown) + ")") +
                    (missing.empty() ? ""
                                     : std::string(unknown.empty() ? ":" : ",") +
                                           " it lacks fields of 1.2 (" + list_of(missing) + ")"));
  }
  const nvinfer1::PluginFieldCollection collection = {static_cast<int32_t>(given.size()), given.data()};
  // TensorRT keeps a clone.
  nvinfer1::IPluginV2* made = creator->createPlugin(layer.c_str(), &collection);
  if (made == nullptr) internal_error("GPTAttention refuses the fields of " + layer + "; its log says why");
  const std::unique_ptr<nvinfer1::IPluginV2, void (*)(nvinfer1::IPluginV2*)> owner(
      made, [](nvinfer1::IPluginV2* plugin) { plugin->destroy(); });
  return tensorrt::named(network.addPluginV2(inputs.data(), static_cast<int32_t>(inputs.size()), *made),
                         layer);
}

#else

tensorrt::Tensor add_gpt_attention(nvinfer1::INetworkDefinition&, const std::string&,
                                   const std::map<std::string, double>&,
                                   const std::vector<tensorrt::Tensor>&) {
  throw Error("ERR_BACKEND_UNAVAILABLE", "TensorRT-LLM 1.2 runs engines of TensorRT 10, this is another");
}

#endif

}  // namespace kraken::trtllm
