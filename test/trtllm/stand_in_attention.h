// A plugin that passes for TensorRT-LLM's GPTAttention: its name, namespace and field names, shapes and
// types, and no arithmetic. It refuses fields as the original does: one that is missing, or of another type
// than is read, which for one field is not the type that is listed.
#pragma once

#include <NvInfer.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace kraken::test {

inline const std::vector<std::pair<std::string, nvinfer1::PluginFieldType>>& gpt_attention_fields() {
  using Type = nvinfer1::PluginFieldType;
  static const auto* fields = [] {
    auto* all = new std::vector<std::pair<std::string, Type>>;
    for (const char* name : {"layer_idx",
                             "num_heads",
                             "vision_start",
                             "vision_length",
                             "num_kv_heads",
                             "num_kv_heads_origin",
                             "layer_idx_in_cache_pool",
                             "head_size",
                             "unidirectional",
                             "rotary_embedding_dim",
                             "rotary_embedding_max_positions",
                             "rotary_embedding_original_max_positions",
                             "tp_size",
                             "tp_rank",
                             "kv_cache_quant_mode",
                             "mask_type",
                             "block_sparse_block_size",
                             "block_sparse_homo_head_pattern",
                             "block_sparse_num_local_blocks",
                             "block_sparse_vertical_stride",
                             "paged_kv_cache",
                             "tokens_per_block",
                             "type_id",
                             "max_context_length",
                             "max_distance",
                             "use_cache",
                             "spec_decoding_max_generation_length",
                             "q_lora_rank",
                             "kv_lora_rank",
                             "qk_nope_head_dim",
                             "qk_rope_head_dim",
                             "v_head_dim",
                             "cp_size",
                             "cp_rank",
                             "cp_group"}) {
      all->emplace_back(name, Type::kINT32);
    }
    for (const char* name :
         {"position_embedding_type", "rotary_embedding_scale_type", "unfuse_qkv_gemm", "use_logn_scaling",
          "context_fmha_type", "remove_input_padding", "qkv_bias_enabled", "do_cross_attention",
          "pos_shift_enabled", "dense_context_fmha", "use_paged_context_fmha", "use_fp8_context_fmha",
          "has_full_attention_mask", "is_spec_decoding_enabled",
          "spec_decoding_is_generation_length_variable", "is_mla_enabled", "fuse_fp4_quant", "skip_attn"}) {
      all->emplace_back(name, Type::kINT8);
    }
    for (const char* name :
         {"q_scaling", "attn_logit_softcapping_scale", "rotary_embedding_base", "rotary_embedding_scale",
          "rotary_embedding_short_m_scale", "rotary_embedding_long_m_scale"}) {
      all->emplace_back(name, Type::kFLOAT32);
    }
    return all;
  }();
  return *fields;
}

class StandInAttention final : public nvinfer1::IPluginV2DynamicExt {
 public:
  explicit StandInAttention(std::map<std::string, double> values) : values(std::move(values)) {}

  const char* getPluginType() const noexcept override { return "GPTAttention"; }
  const char* getPluginVersion() const noexcept override { return "1"; }
  int32_t getNbOutputs() const noexcept override { return 1; }
  int32_t initialize() noexcept override { return 0; }
  void terminate() noexcept override {}
  size_t getSerializationSize() const noexcept override { return 0; }
  void serialize(void*) const noexcept override {}
  void destroy() noexcept override { delete this; }
  void setPluginNamespace(const char*) noexcept override {}
  const char* getPluginNamespace() const noexcept override { return "tensorrt_llm"; }
  nvinfer1::DataType getOutputDataType(int32_t, const nvinfer1::DataType* types,
                                       int32_t) const noexcept override {
    return types[0];
  }
  IPluginV2DynamicExt* clone() const noexcept override { return new StandInAttention(values); }
  // [tokens, (heads + 2·kv)·size] → [tokens, heads·size]
  nvinfer1::DimsExprs getOutputDimensions(int32_t, const nvinfer1::DimsExprs* inputs, int32_t,
                                          nvinfer1::IExprBuilder& builder) noexcept override {
    nvinfer1::DimsExprs output = inputs[0];
    output.d[1] = builder.constant(static_cast<int32_t>(values.at("num_heads") * values.at("head_size")));
    return output;
  }
  bool supportsFormatCombination(int32_t position, const nvinfer1::PluginTensorDesc* tensors, int32_t inputs,
                                 int32_t) noexcept override {
    return tensors[position].format == nvinfer1::TensorFormat::kLINEAR &&
           (position != inputs || tensors[position].type == tensors[0].type);
  }
  void configurePlugin(const nvinfer1::DynamicPluginTensorDesc*, int32_t,
                       const nvinfer1::DynamicPluginTensorDesc*, int32_t) noexcept override {}
  size_t getWorkspaceSize(const nvinfer1::PluginTensorDesc*, int32_t, const nvinfer1::PluginTensorDesc*,
                          int32_t) const noexcept override {
    return 0;
  }
  int32_t enqueue(const nvinfer1::PluginTensorDesc*, const nvinfer1::PluginTensorDesc*, const void* const*,
                  void* const*, void*, cudaStream_t) noexcept override {
    return 0;
  }

  const std::map<std::string, double> values;
};

class StandInCreator final : public nvinfer1::IPluginCreator {
 public:
  StandInCreator() {
    for (const auto& [name, type] : gpt_attention_fields()) add(name, type);
  }
  void add(const std::string& name, nvinfer1::PluginFieldType type) {
    names_.push_back(std::make_unique<std::string>(name));
    fields_.emplace_back(names_.back()->c_str(), nullptr, type, 1);
  }
  void remove(const std::string& name) {
    std::erase_if(fields_, [&](const nvinfer1::PluginField& field) { return name == field.name; });
  }

  const char* getPluginName() const noexcept override { return "GPTAttention"; }
  const char* getPluginVersion() const noexcept override { return "1"; }
  const char* getPluginNamespace() const noexcept override { return "tensorrt_llm"; }
  void setPluginNamespace(const char*) noexcept override {}
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override {
    collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
    return &collection_;
  }
  nvinfer1::IPluginV2* createPlugin(const char*,
                                    const nvinfer1::PluginFieldCollection* given) noexcept override {
    std::map<std::string, double> values;
    for (int32_t i = 0; i < given->nbFields; ++i) {
      const nvinfer1::PluginField& field = given->fields[i];
      values[field.name] = value_of(field);
      if (field.length != 1 || field.type != read_as(field.name)) return nullptr;
    }
    for (const nvinfer1::PluginField& field : fields_) {
      if (!values.count(field.name)) return nullptr;
    }
    return new StandInAttention(std::move(values));
  }
  nvinfer1::IPluginV2* deserializePlugin(const char*, const void*, size_t) noexcept override {
    return nullptr;
  }

 private:
  // As the original: one field is listed as another type than it is read as.
  nvinfer1::PluginFieldType read_as(const std::string& name) const {
    if (name == "block_sparse_homo_head_pattern") return nvinfer1::PluginFieldType::kINT8;
    for (const nvinfer1::PluginField& field : fields_) {
      if (name == field.name) return field.type;
    }
    return nvinfer1::PluginFieldType::kUNKNOWN;
  }
  static double value_of(const nvinfer1::PluginField& field) {
    switch (field.type) {
      case nvinfer1::PluginFieldType::kINT8:
        return *static_cast<const int8_t*>(field.data);
      case nvinfer1::PluginFieldType::kINT32:
        return *static_cast<const int32_t*>(field.data);
      default:
        return *static_cast<const float*>(field.data);
    }
  }

  std::vector<std::unique_ptr<std::string>> names_;
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace kraken::test
