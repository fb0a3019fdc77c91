// Fields of a plugin, as a network's author gives them.
#pragma once

#include <NvInferRuntime.h>

#include <memory>
#include <string>
#include <vector>

#include "tensorrt.h"

namespace kraken::plugins {

class Fields {
 public:
  Fields& integer(const char* name, int32_t value) {
    return add(name, nvinfer1::PluginFieldType::kINT32, 1, std::vector<int32_t>{value});
  }
  Fields& number(const char* name, float value) {
    return add(name, nvinfer1::PluginFieldType::kFLOAT32, 1, std::vector<float>{value});
  }
  // Instead of the field of this name: any type, length and data.
  template <typename Value>
  Fields& replace(const char* name, nvinfer1::PluginFieldType type, int32_t length,
                  std::vector<Value> values) {
    remove(name);
    return add(name, type, length, std::move(values));
  }
  Fields& remove(const std::string& name) {
    std::erase_if(list_, [&](const nvinfer1::PluginField& field) { return name == field.name; });
    return *this;
  }

  std::unique_ptr<nvinfer1::IPluginV3> create(
      const std::string& plugin, nvinfer1::TensorRTPhase phase = nvinfer1::TensorRTPhase::kBUILD) const {
    const nvinfer1::PluginFieldCollection collection = {static_cast<int32_t>(list_.size()), list_.data()};
    for (nvinfer1::IPluginCreatorV3One* creator : creators()) {
      if (plugin != creator->getPluginName()) continue;
      return std::unique_ptr<nvinfer1::IPluginV3>(creator->createPlugin("layer", &collection, phase));
    }
    ADD_FAILURE() << "no creator " << plugin;
    return nullptr;
  }

 private:
  template <typename Value>
  Fields& add(const char* name, nvinfer1::PluginFieldType type, int32_t length, std::vector<Value> values) {
    auto kept = std::make_shared<std::vector<Value>>(std::move(values));
    list_.emplace_back(name, kept->data(), type, length);
    data_.push_back(kept);
    return *this;
  }
  std::vector<nvinfer1::PluginField> list_;
  std::vector<std::shared_ptr<void>> data_;
};

inline Fields norm_fields(int32_t exchange, int32_t ways, int32_t width, int32_t bias = 0) {
  Fields fields;
  fields.integer("exchange", exchange).integer("ways", ways).integer("width", width).integer("rms", 0);
  fields.integer("bias", bias).number("epsilon", 1e-5f);
  return fields;
}

inline Fields start_norm_fields(int32_t exchange, int32_t ways, int32_t width, int32_t bias = 0) {
  return norm_fields(exchange, ways, width, bias).integer("joined_by_norm", 1);
}

inline Fields join_add_fields(int32_t exchange, int32_t width) {
  return Fields().integer("exchange", exchange).integer("width", width);
}

// 12 heads of 113 elements in each of 2 ways, rotary positions on 32 of them.
inline Fields attention_fields(int32_t last_tokens = 0) {
  Fields fields;
  fields.integer("layer", 3).integer("ways", 2).integer("heads", 12).integer("kv_heads", 4);
  fields.integer("head_dim", 113).number("scale", 0.094f).integer("rotary_dims", 32);
  fields.number("rotary_base", 10000).integer("rotary_style", 1).integer("last_tokens", last_tokens);
  return fields.integer("block_tokens", 64).integer("max_context", 1000);
}

// The plugins' names with fields that are right.
inline std::vector<std::pair<std::string, Fields>> all_plugins() {
  return {{"StartNorm", start_norm_fields(3, 2, 768, 1)},
          {"JoinNorm", norm_fields(3, 2, 768, 1)},
          {"JoinAdd", join_add_fields(1, 768)},
          {"AllReduce", Fields()},
          {"Attention", attention_fields(1)}};
}

}  // namespace kraken::plugins
