// The plugins in the real TensorRT's registry. Needs its library, and neither a driver nor a device.
#include "fields.h"
#include "tensorrt.h"

namespace kraken::plugins {
namespace {

class PluginRegistry : public TensorRt {
 protected:
  int32_t creator_count() {
    int32_t count = 0;
    registry().getAllCreators(&count);
    return count;
  }
};

TEST_F(PluginRegistry, LoadsAndUnloadsTheLibrary) {
  const int32_t before = creator_count();
  const nvinfer1::IPluginRegistry::PluginLibraryHandle handle = registry().loadLibrary(KRAKEN_PLUGIN_LIBRARY);
  ASSERT_NE(handle, nullptr);
  EXPECT_EQ(creator_count(), before + 5);
  for (const auto& [name, fields] : all_plugins()) {
    nvinfer1::IPluginCreatorInterface* creator = registry().getCreator(name.c_str(), "1", "kraken");
    ASSERT_NE(creator, nullptr) << name;
    EXPECT_STREQ(creator->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE");
    EXPECT_EQ(registry().getCreator(name.c_str(), "1", ""), nullptr) << "only in its own namespace";
  }
  registry().deregisterLibrary(handle);
  EXPECT_EQ(creator_count(), before);
}

TEST_F(PluginRegistry, TakesCreatorsOneByOne) {
  const int32_t before = creator_count();
  for (nvinfer1::IPluginCreatorV3One* creator : creators()) {
    EXPECT_TRUE(registry().registerCreator(*creator, KRAKEN_PLUGINS_NAMESPACE));
  }
  EXPECT_EQ(creator_count(), before + 5);
  for (nvinfer1::IPluginCreatorV3One* creator : creators())
    EXPECT_TRUE(registry().deregisterCreator(*creator));
  EXPECT_EQ(creator_count(), before);
}

TEST_F(PluginRegistry, ErrorsReachTensorRtsLogger) {
  Log log;
  const auto set_finder = plugin_library().function<void(nvinfer1::ILoggerFinder*)>("setLoggerFinder");
  set_finder(&log);
  EXPECT_EQ(start_norm_fields(0, 0, 768).create("StartNorm"), nullptr);
  set_finder(nullptr);
  ASSERT_EQ(log.lines().size(), 1u);
  EXPECT_EQ(log.lines()[0].severity, nvinfer1::ILogger::Severity::kERROR);
  EXPECT_EQ(log.lines()[0].text, R"(kraken: StartNorm: field "ways" must be one int32 of at least 1, got 0)");
}

}  // namespace
}  // namespace kraken::plugins
