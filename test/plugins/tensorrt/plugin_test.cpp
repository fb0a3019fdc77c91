// The plugins as objects: fields, capabilities, clones, serialization. TensorRT's headers are enough for
// these.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <map>

#include "fields.h"

namespace kraken::plugins {
namespace {

using nvinfer1::PluginCapabilityType;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorRTPhase;

nvinfer1::IPluginV3OneRuntime& runtime_of(nvinfer1::IPluginV3& plugin) {
  return *static_cast<nvinfer1::IPluginV3OneRuntime*>(
      plugin.getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}
nvinfer1::IPluginV3OneBuild& build_of(nvinfer1::IPluginV3& plugin) {
  return *static_cast<nvinfer1::IPluginV3OneBuild*>(
      plugin.getCapabilityInterface(PluginCapabilityType::kBUILD));
}

// Name → bytes of each serialized field.
std::map<std::string, std::string> serialized(nvinfer1::IPluginV3& plugin) {
  std::map<std::string, std::string> fields;
  const nvinfer1::PluginFieldCollection* list = runtime_of(plugin).getFieldsToSerialize();
  for (int32_t i = 0; i < list->nbFields; ++i) {
    const nvinfer1::PluginField& field = list->fields[i];
    fields[field.name] =
        std::string(static_cast<const char*>(field.data), 4 * static_cast<size_t>(field.length));
  }
  return fields;
}

TEST(Plugins, HaveTheThreeCapabilities) {
  for (const auto& [name, fields] : all_plugins()) {
    const auto plugin = fields.create(name);
    ASSERT_NE(plugin, nullptr) << last_error();
    auto* core =
        static_cast<nvinfer1::IPluginV3OneCore*>(plugin->getCapabilityInterface(PluginCapabilityType::kCORE));
    EXPECT_EQ(core->getPluginName(), name);
    EXPECT_STREQ(core->getPluginNamespace(), "kraken");
    EXPECT_STREQ(core->getInterfaceInfo().kind, "PLUGIN_V3ONE_CORE");
    EXPECT_STREQ(build_of(*plugin).getInterfaceInfo().kind, "PLUGIN_V3ONE_BUILD");
    EXPECT_STREQ(runtime_of(*plugin).getInterfaceInfo().kind, "PLUGIN_V3ONE_RUNTIME");
    EXPECT_EQ(build_of(*plugin).getNbOutputs(), 1);
    EXPECT_EQ(build_of(*plugin).getNbTactics(), 0);
    if (name == "Attention") continue;
    EXPECT_EQ(build_of(*plugin).getWorkspaceSize(nullptr, 0, nullptr, 0), 0u);
  }
}

TEST(Plugins, AreTheSameAfterCloningAndAfterTheirPlan) {
  for (const auto& [name, fields] : all_plugins()) {
    auto plugin = fields.create(name);
    ASSERT_NE(plugin, nullptr);
    const std::map<std::string, std::string> before = serialized(*plugin);
    const std::unique_ptr<nvinfer1::IPluginV3> clone(plugin->clone());
    plugin.reset();  // a clone lives on
    EXPECT_EQ(serialized(*clone), before) << name;

    for (nvinfer1::IPluginCreatorV3One* creator : creators()) {
      if (name != creator->getPluginName()) continue;
      const std::unique_ptr<nvinfer1::IPluginV3> loaded(
          creator->createPlugin("layer", runtime_of(*clone).getFieldsToSerialize(), TensorRTPhase::kRUNTIME));
      ASSERT_NE(loaded, nullptr) << last_error();
      EXPECT_EQ(serialized(*loaded), before) << name;
    }
  }
}

// A plan's bytes lie anywhere.
TEST(Plugins, ReadFieldsThatAreNotAligned) {
  std::vector<char> bytes(64);
  int32_t ways = 7;
  std::memcpy(bytes.data() + 1, &ways, sizeof(ways));
  const nvinfer1::PluginField field("width", bytes.data() + 1, PluginFieldType::kINT32, 1);
  int32_t exchange = 0;
  const nvinfer1::PluginField other("exchange", &exchange, PluginFieldType::kINT32, 1);
  const std::array<nvinfer1::PluginField, 2> list = {field, other};
  const nvinfer1::PluginFieldCollection collection = {2, list.data()};
  const std::unique_ptr<nvinfer1::IPluginV3> plugin(
      creators()[2]->createPlugin("layer", &collection, TensorRTPhase::kBUILD));
  ASSERT_NE(plugin, nullptr) << last_error();
  EXPECT_EQ(serialized(*plugin).at("width"), std::string(bytes.data() + 1, 4));
}

struct BadField {
  const char* what;
  void (*change)(Fields&);
  const char* message;
  TensorRTPhase phase = TensorRTPhase::kBUILD;
};
class BadFields : public testing::TestWithParam<BadField> {};

TEST_P(BadFields, AreRefusedByName) {
  Fields fields = start_norm_fields(0, 2, 768);
  if (GetParam().phase == TensorRTPhase::kRUNTIME) fields.integer("kraken_version", 1);
  ASSERT_NE(fields.create("StartNorm", GetParam().phase), nullptr) << last_error();
  GetParam().change(fields);
  EXPECT_EQ(fields.create("StartNorm", GetParam().phase), nullptr);
  EXPECT_EQ(last_error(), std::string("kraken: StartNorm: ") + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Plugins, BadFields,
    testing::Values(
        BadField{"missing", [](Fields& f) { f.remove("ways"); },
                 R"(field "ways" must be one int32 of at least 1, got none)"},
        BadField{"unknown", [](Fields& f) { f.integer("way", 1); }, R"(has no field "way")"},
        BadField{"twice", [](Fields& f) { f.integer("ways", 2); },
                 R"(field "ways" must be given once, got two of it)"},
        BadField{"type",
                 [](Fields& f) { f.replace("ways", PluginFieldType::kINT64, 1, std::vector<int64_t>{2}); },
                 R"(field "ways" must be one int32 of at least 1, got 1 × int64)"},
        BadField{"length",
                 [](Fields& f) {
                   f.replace("ways", PluginFieldType::kINT32, 2, std::vector<int32_t>{2, 2});
                 },
                 R"(field "ways" must be one int32 of at least 1, got 2 × int32)"},
        BadField{
            "short",
            [](Fields& f) { f.replace("epsilon", PluginFieldType::kFLOAT32, 0, std::vector<float>{1e-5f}); },
            R"(field "epsilon" must be one finite float32 above 0, got 0 × float32)"},
        BadField{"noData",
                 [](Fields& f) { f.replace("ways", PluginFieldType::kINT32, 1, std::vector<int32_t>{}); },
                 R"(field "ways" must be one int32 of at least 1, got no data)"},
        BadField{"negative", [](Fields& f) { f.remove("exchange").integer("exchange", -1); },
                 R"(field "exchange" must be one int32 of at least 0, got -1)"},
        BadField{"tooWide", [](Fields& f) { f.remove("width").integer("width", 16385); },
                 R"(field "width" must be one int32 from 1 to 16384, got 16385)"},
        BadField{"notAFlag", [](Fields& f) { f.remove("rms").integer("rms", 2); },
                 R"(field "rms" must be one int32 from 0 to 1, got 2)"},
        BadField{"notFinite", [](Fields& f) { f.remove("epsilon").number("epsilon", NAN); },
                 R"(field "epsilon" must be one finite float32 above 0, got nan)"},
        BadField{"planOfAnotherVersion",
                 [](Fields& f) { f.remove("kraken_version").integer("kraken_version", 2); },
                 R"(field "kraken_version" must be 1 (build the engine again), got 2)",
                 TensorRTPhase::kRUNTIME},
        BadField{"planWithoutVersion", [](Fields& f) { f.remove("kraken_version"); },
                 R"(field "kraken_version" must be 1 (build the engine again), got none)",
                 TensorRTPhase::kRUNTIME}),
    [](const auto& info) { return info.param.what; });

class BadAttention : public testing::TestWithParam<BadField> {};

TEST_P(BadAttention, IsRefusedByName) {
  Fields fields = attention_fields();
  ASSERT_NE(fields.create("Attention"), nullptr) << last_error();
  GetParam().change(fields);
  EXPECT_EQ(fields.create("Attention"), nullptr);
  EXPECT_EQ(last_error(), std::string("kraken: Attention: ") + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Plugins, BadAttention,
    testing::Values(
        BadField{"groups", [](Fields& f) { f.remove("kv_heads").integer("kv_heads", 5); },
                 R"(field "kv_heads" must be a divisor of heads (12), got 5)"},
        BadField{"headDim", [](Fields& f) { f.remove("head_dim").integer("head_dim", 257); },
                 R"(field "head_dim" must be one int32 from 1 to 256, got 257)"},
        BadField{"noScale", [](Fields& f) { f.remove("scale"); },
                 R"(field "scale" must be one finite float32 above 0, got none)"},
        BadField{"style", [](Fields& f) { f.remove("rotary_style").integer("rotary_style", 3); },
                 R"(field "rotary_style" must be one int32 from 0 to 2, got 3)"},
        BadField{"oddRotary", [](Fields& f) { f.remove("rotary_dims").integer("rotary_dims", 33); },
                 R"(field "rotary_dims" must be an even number from 2 to head_dim (113), got 33)"},
        BadField{"wideRotary", [](Fields& f) { f.remove("rotary_dims").integer("rotary_dims", 114); },
                 R"(field "rotary_dims" must be an even number from 2 to head_dim (113), got 114)"},
        BadField{
            "fewScales",
            [](Fields& f) {
              f.replace("rotary_frequency_scale", PluginFieldType::kFLOAT32, 2, std::vector<float>{1, 2});
            },
            R"(field "rotary_frequency_scale" must be 1 or rotary_dims / 2 (16) long, got 2)"},
        BadField{"noScales",
                 [](Fields& f) {
                   f.replace("rotary_frequency_scale", PluginFieldType::kFLOAT32, 0, std::vector<float>{1});
                 },
                 R"(field "rotary_frequency_scale" must be finite float32s above 0, got 0 × float32)"},
        BadField{"badScale",
                 [](Fields& f) {
                   f.replace("rotary_frequency_scale", PluginFieldType::kFLOAT32, 1, std::vector<float>{-1});
                 },
                 R"(field "rotary_frequency_scale" must be finite float32s above 0, got -1.000000)"},
        BadField{"blocks", [](Fields& f) { f.remove("block_tokens").integer("block_tokens", 48); },
                 R"(field "block_tokens" must be a power of two, got 48)"}),
    [](const auto& info) { return info.param.what; });

// A scale for each pair, as Llama 3 has, is a field of many numbers.
TEST(Plugins, KeepTheFrequencyScaleOfEachPair) {
  Fields fields = attention_fields();
  std::vector<float> scales(16);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = 1.0f / static_cast<float>(i + 1);
  fields.replace("rotary_frequency_scale", PluginFieldType::kFLOAT32, 16, scales);
  const auto plugin = fields.create("Attention");
  ASSERT_NE(plugin, nullptr) << last_error();
  const std::string bytes = serialized(*plugin).at("rotary_frequency_scale");
  ASSERT_EQ(bytes.size(), 64u);
  EXPECT_EQ(std::memcmp(bytes.data(), scales.data(), 64), 0);
}

TEST(Plugins, RefuseADamagedCollection) {
  const nvinfer1::PluginFieldCollection damaged = {-3, nullptr};
  EXPECT_EQ(creators()[0]->createPlugin("layer", &damaged, TensorRTPhase::kRUNTIME), nullptr);
  EXPECT_EQ(last_error(), "kraken: StartNorm: the field collection is damaged: -3 fields");
}

nvinfer1::PluginTensorDesc desc(std::vector<int64_t> dims, nvinfer1::DataType type) {
  nvinfer1::PluginTensorDesc made{};
  made.type = type;
  made.format = nvinfer1::TensorFormat::kLINEAR;
  made.dims.nbDims = static_cast<int32_t>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) made.dims.d[i] = dims[i];
  return made;
}

TEST(Plugins, RefuseShapesThatDoNotFit) {
  using nvinfer1::DataType;
  const auto plugin = start_norm_fields(0, 2, 768).create("StartNorm");
  ASSERT_NE(plugin, nullptr);
  const auto x = desc({2, 5, 768}, DataType::kHALF), weight = desc({2, 768}, DataType::kFLOAT);
  const auto change = [&](std::vector<nvinfer1::PluginTensorDesc> inputs) {
    const int32_t count = static_cast<int32_t>(inputs.size());
    return runtime_of(*plugin).onShapeChange(inputs.data(), count, &x, 1);
  };
  EXPECT_EQ(change({x, x, weight}), 0) << last_error();
  EXPECT_NE(change({x, x}), 0);
  EXPECT_EQ(last_error(), "kraken: StartNorm: takes 3 inputs and has 1 output, got 2 and 1");
  EXPECT_NE(change({desc({1, 5, 768}, DataType::kHALF), x, weight}), 0);
  EXPECT_EQ(last_error(), "kraken: StartNorm: send must be [2,-1,768], got [1,5,768]");
  EXPECT_NE(change({x, x, desc({2, 1, 768}, DataType::kFLOAT)}), 0);
  EXPECT_EQ(last_error(), "kraken: StartNorm: weight must be [2,768], got [2,1,768]");
}

// A last layer sends only the rows whose logits are wanted, and joins as many as it sent.
TEST(Plugins, StartNormAloneMaySendOtherRowsThanItNormalises) {
  using nvinfer1::DataType;
  const auto few = desc({2, 3, 768}, DataType::kHALF), all = desc({2, 5, 768}, DataType::kHALF),
             weight = desc({2, 768}, DataType::kFLOAT);
  const std::vector<nvinfer1::PluginTensorDesc> inputs = {few, all, weight};
  const auto start = start_norm_fields(0, 2, 768).create("StartNorm");
  const auto join = norm_fields(0, 2, 768).create("JoinNorm");
  ASSERT_TRUE(start != nullptr && join != nullptr);
  EXPECT_EQ(runtime_of(*start).onShapeChange(inputs.data(), 3, &all, 1), 0) << last_error();
  EXPECT_NE(runtime_of(*join).onShapeChange(inputs.data(), 3, &few, 1), 0);
  EXPECT_EQ(last_error(), "kraken: JoinNorm: x must be [2,3,768], got [2,5,768]");
}

TEST(Plugins, AttentionRefusesShapesThatDoNotFit) {
  using nvinfer1::DataType;
  const auto plugin = attention_fields(1).create("Attention");
  ASSERT_NE(plugin, nullptr);
  const auto qkv = [&](int64_t width) { return desc({2, 9, width}, DataType::kHALF); };
  const auto int32 = [&](std::vector<int64_t> dims) { return desc(std::move(dims), DataType::kINT32); };
  const auto out = desc({2, 4, 12 * 113}, DataType::kHALF);
  const auto change = [&](std::vector<nvinfer1::PluginTensorDesc> inputs) {
    return runtime_of(*plugin).onShapeChange(inputs.data(), static_cast<int32_t>(inputs.size()), &out, 1);
  };
  EXPECT_EQ(change({qkv(2260), int32({9}), int32({6}), int32({5}), int32({5, 16}), int32({4})}), 0)
      << last_error();
  const auto expect_refused = [&](std::vector<nvinfer1::PluginTensorDesc> inputs, const char* message) {
    EXPECT_NE(change(std::move(inputs)), 0);
    EXPECT_EQ(last_error(), std::string("kraken: Attention: ") + message);
  };
  expect_refused({qkv(2259), int32({9}), int32({6}), int32({5}), int32({5, 16}), int32({4})},
                 "qkv must be [2,-1,2260], got [2,9,2259]");
  expect_refused({qkv(2260), int32({8}), int32({6}), int32({5}), int32({5, 16}), int32({4})},
                 "positions must be [9], got [8]");
  expect_refused({qkv(2260), int32({9}), int32({5}), int32({5}), int32({5, 16}), int32({4})},
                 "sequence_begins must be [6], got [5]");
  expect_refused({qkv(2260), int32({9}), int32({6}), int32({5}), int32({5, 15}), int32({4})},
                 "block_tables must be [5,16], got [5,15]");
  expect_refused({qkv(2260), int32({9}), int32({6}), int32({5}), int32({5, 16}), int32({4, 1})},
                 "wanted_rows must be [-1], got [4,1]");
  expect_refused({qkv(2260), int32({9}), int32({6}), int32({5}), int32({5, 16})},
                 "takes 6 inputs and has 1 output, got 5 and 1");
}

TEST(Plugins, AttentionAsksForItsWorkspace) {
  using nvinfer1::DataType;
  const auto plugin = attention_fields().create("Attention");
  ASSERT_NE(plugin, nullptr);
  const auto bytes_for = [&](int64_t tokens) {
    std::vector<nvinfer1::DynamicPluginTensorDesc> inputs(5);
    for (auto& input : inputs) input.desc = desc({-1}, DataType::kINT32);
    inputs[0].desc = desc({2, -1, 2260}, DataType::kHALF);
    inputs[0].max = desc({2, tokens, 2260}, DataType::kHALF).dims;
    const nvinfer1::DynamicPluginTensorDesc output{};
    return build_of(*plugin).getWorkspaceSize(inputs.data(), 5, &output, 1);
  };
  // Keys and values of a step: of 2 × 4 heads, in rows of 120 elements.
  EXPECT_EQ(bytes_for(2048) - bytes_for(1024), size_t{1024} * 2 * 8 * 120 * 2);
  EXPECT_GT(bytes_for(1), size_t{1} << 20);
}

TEST(Plugins, SayWhatIsWrongWhenThereIsNoDevice) {
  const auto plugin = Fields().create("AllReduce");
  const auto tensor = desc({4, 8}, nvinfer1::DataType::kFLOAT);
  std::vector<float> in(32), out(32);
  const void* inputs[] = {in.data()};
  void* outputs[] = {out.data()};
  if (runtime_of(*plugin).enqueue(&tensor, &tensor, inputs, outputs, nullptr, nullptr) == 0) {
    GTEST_SKIP() << "this machine has a device";
  }
  EXPECT_NE(last_error().find("AllReduce: copying failed: "), std::string::npos) << last_error();
}

}  // namespace
}  // namespace kraken::plugins
