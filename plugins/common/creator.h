// The creator of one kind of plugin: reads and checks the fields, the same way for a new layer and for a
// plan.
#pragma once

#include <NvInferRuntime.h>

#include <memory>

#include "common/fields.h"
#include "common/log.h"

namespace kraken::plugins {

// PluginType has kName, Attributes, describe(Attributes&, visitor) and a constructor from Attributes.
template <typename PluginType>
class Creator : public nvinfer1::IPluginCreatorV3One {
 public:
  Creator() { PluginType::describe(attributes_, names_); }

  nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override {
    return guarded(PluginType::kName, static_cast<nvinfer1::IPluginV3*>(nullptr),
                   [&]() -> nvinfer1::IPluginV3* {
                     typename PluginType::Attributes attributes;
                     FieldReader reader(fields);
                     reader.version(phase == nvinfer1::TensorRTPhase::kRUNTIME);
                     PluginType::describe(attributes, reader);
                     reader.finish();
                     return std::make_unique<PluginType>(attributes).release();
                   });
  }
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return names_.collection(); }
  const char* getPluginName() const noexcept override { return PluginType::kName; }
  const char* getPluginVersion() const noexcept override { return "1"; }
  const char* getPluginNamespace() const noexcept override { return "kraken"; }

 private:
  typename PluginType::Attributes attributes_;  // names_ points into it
  FieldList names_;
};

}  // namespace kraken::plugins
