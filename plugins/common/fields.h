// A plugin's attributes as TensorRT's PluginFields. Each attribute is described once, by a function
// `describe(attributes, visitor)`; the visitors here read fields into attributes, and list attributes as
// fields. What is listed is also what is serialized, behind a version of its own.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace kraken::plugins {

constexpr int32_t kSerializedVersion = 1;
constexpr const char* kVersionField = "kraken_version";

// Throws PluginError: which field, what was expected, what was given.
class FieldReader {
 public:
  explicit FieldReader(const nvinfer1::PluginFieldCollection* fields);
  void integer(const char* name, int32_t& value, int32_t least, int32_t most);
  void positive(const char* name, float& value);
  // One or several; may be left out, and then `values` stays what it is.
  void positives(const char* name, std::vector<float>& values);
  // The version that a serialized plugin must hold; one that is made by hand may leave it out.
  void version(bool required);
  // Every field must have been asked for.
  void finish() const;

 private:
  // Null where there is none of this name. Marks it as used.
  const nvinfer1::PluginField* find_any(const char* name);
  const nvinfer1::PluginField& find(const char* name, nvinfer1::PluginFieldType type,
                                    const std::string& expected);

  std::vector<const nvinfer1::PluginField*> fields_;
  std::vector<bool> used_;
};

// Fields that point at the attributes they were listed from.
class FieldList {
 public:
  FieldList() { add(kVersionField, &kSerializedVersion, nvinfer1::PluginFieldType::kINT32); }
  FieldList(const FieldList&) = delete;
  FieldList& operator=(const FieldList&) = delete;

  void integer(const char* name, const int32_t& value, int32_t, int32_t) {
    add(name, &value, nvinfer1::PluginFieldType::kINT32);
  }
  void positive(const char* name, const float& value) {
    add(name, &value, nvinfer1::PluginFieldType::kFLOAT32);
  }
  void positives(const char* name, const std::vector<float>& values) {
    add(name, values.data(), nvinfer1::PluginFieldType::kFLOAT32, static_cast<int32_t>(values.size()));
  }
  const nvinfer1::PluginFieldCollection* collection() {
    collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
    return &collection_;
  }

 private:
  void add(const char* name, const void* data, nvinfer1::PluginFieldType type, int32_t length = 1) {
    fields_.emplace_back(name, data, type, length);
  }

  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace kraken::plugins
