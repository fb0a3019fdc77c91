#include "common/fields.h"

#include <cmath>
#include <cstring>

#include "common/error.h"

namespace kraken::plugins {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

// 2^20 fields are no plugin of ours, but a length read from a damaged plan.
constexpr int32_t kMaxFields = 1 << 20;

std::string name_of(PluginFieldType type) {
  switch (type) {
    case PluginFieldType::kINT32:
      return "int32";
    case PluginFieldType::kFLOAT32:
      return "float32";
    case PluginFieldType::kINT64:
      return "int64";
    case PluginFieldType::kFLOAT64:
      return "float64";
    default:
      return "type " + std::to_string(static_cast<int32_t>(type));
  }
}

std::string describe(const PluginField& field) {
  if (field.data == nullptr) return "no data";
  return std::to_string(field.length) + " × " + name_of(field.type);
}

[[noreturn]] void refuse(const char* name, const std::string& expected, const std::string& got) {
  throw PluginError("field \"" + std::string(name) + "\" must be " + expected + ", got " + got);
}

// Fields of a plan need not be aligned.
template <typename Value>
Value value_of(const PluginField& field) {
  Value value;
  std::memcpy(&value, field.data, sizeof(value));
  return value;
}

}  // namespace

FieldReader::FieldReader(const nvinfer1::PluginFieldCollection* fields) {
  const int32_t count = fields == nullptr ? 0 : fields->nbFields;
  if (count < 0 || count > kMaxFields || (count > 0 && fields->fields == nullptr)) {
    throw PluginError("the field collection is damaged: " + std::to_string(count) + " fields");
  }
  for (int32_t i = 0; i < count; ++i) {
    const PluginField& field = fields->fields[i];
    if (field.name == nullptr) throw PluginError("field " + std::to_string(i) + " has no name");
    for (const PluginField* other : fields_) {
      if (std::strcmp(other->name, field.name) == 0) refuse(field.name, "given once", "two of it");
    }
    fields_.push_back(&field);
  }
  used_.assign(fields_.size(), false);
}

const PluginField* FieldReader::find_any(const char* name) {
  for (size_t i = 0; i < fields_.size(); ++i) {
    if (std::strcmp(fields_[i]->name, name) != 0) continue;
    used_[i] = true;
    return fields_[i];
  }
  return nullptr;
}

const PluginField& FieldReader::find(const char* name, PluginFieldType type, const std::string& expected) {
  const PluginField* field = find_any(name);
  if (field == nullptr) refuse(name, expected, "none");
  if (field->type != type || field->length != 1 || field->data == nullptr) {
    refuse(name, expected, describe(*field));
  }
  return *field;
}

void FieldReader::integer(const char* name, int32_t& value, int32_t least, int32_t most) {
  std::string expected = "one int32 of at least " + std::to_string(least);
  if (most != std::numeric_limits<int32_t>::max()) {
    expected = "one int32 from " + std::to_string(least) + " to " + std::to_string(most);
  }
  const int32_t given = value_of<int32_t>(find(name, PluginFieldType::kINT32, expected));
  if (given < least || given > most) refuse(name, expected, std::to_string(given));
  value = given;
}

void FieldReader::positive(const char* name, float& value) {
  const char* expected = "one finite float32 above 0";
  const float given = value_of<float>(find(name, PluginFieldType::kFLOAT32, expected));
  if (!std::isfinite(given) || given <= 0) refuse(name, expected, std::to_string(given));
  value = given;
}

void FieldReader::positives(const char* name, std::vector<float>& values) {
  const PluginField* field = find_any(name);
  if (field == nullptr) return;
  const char* expected = "finite float32s above 0";
  if (field->type != PluginFieldType::kFLOAT32 || field->length < 1 || field->data == nullptr) {
    refuse(name, expected, describe(*field));
  }
  std::vector<float> given(static_cast<size_t>(field->length));
  std::memcpy(given.data(), field->data, given.size() * sizeof(float));
  for (const float value : given) {
    if (!std::isfinite(value) || value <= 0) refuse(name, expected, std::to_string(value));
  }
  values = std::move(given);
}

void FieldReader::version(bool required) {
  bool present = false;
  for (const PluginField* field : fields_) present |= std::strcmp(field->name, kVersionField) == 0;
  if (!present && !required) return;
  const std::string expected = std::to_string(kSerializedVersion) + " (build the engine again)";
  const int32_t given = value_of<int32_t>(find(kVersionField, PluginFieldType::kINT32, expected));
  if (given != kSerializedVersion) refuse(kVersionField, expected, std::to_string(given));
}

void FieldReader::finish() const {
  for (size_t i = 0; i < fields_.size(); ++i) {
    if (!used_[i]) throw PluginError("has no field \"" + std::string(fields_[i]->name) + "\"");
  }
}

}  // namespace kraken::plugins
