// The library by itself, on a machine that need have neither a driver nor TensorRT.
#include <elf.h>
#include <link.h>

#include <cstring>

#include "tensorrt.h"

namespace kraken::plugins {
namespace {

// Names of the libraries that it needs, from its dynamic section.
std::vector<std::string> needed_libraries() {
  link_map* map = nullptr;
  EXPECT_EQ(dlinfo(plugin_library().handle(), RTLD_DI_LINKMAP, &map), 0);
  const char* strings = nullptr;
  for (const ElfW(Dyn)* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_STRTAB) strings = reinterpret_cast<const char*>(entry->d_un.d_ptr);
  }
  std::vector<std::string> names;
  for (const ElfW(Dyn)* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_NEEDED) names.emplace_back(strings + entry->d_un.d_val);
  }
  return names;
}

TEST(PluginLibrary, NeedsNoDriverNoTensorRtAndNoNccl) {
  const std::vector<std::string> names = needed_libraries();
  EXPECT_FALSE(names.empty());
  for (const std::string& name : names) {
    for (const char* foreign : {"cuda", "nvinfer", "nccl", "nvrtc"}) {
      EXPECT_EQ(name.find(foreign), std::string::npos) << name;
    }
  }
}

TEST(PluginLibrary, ShowsItsInterfaceAlone) {
  for (const char* name : {"getCreators", "setLoggerFinder", "kraken_communicator_create",
                           "kraken_kv_cache_create", "kraken_bind", "kraken_communicator_abort"}) {
    EXPECT_NE(dlsym(plugin_library().handle(), name), nullptr) << name;
  }
  // Of the CUDA runtime inside: TensorRT has another one, and the two must not be mixed up.
  EXPECT_EQ(dlsym(plugin_library().handle(), "cudaMalloc"), nullptr);
}

TEST(PluginLibrary, TellsItsVersions) {
  const Library& library = plugin_library();
  EXPECT_EQ(library.function<int32_t()>("kraken_plugins_interface")(), KRAKEN_PLUGINS_INTERFACE);
  EXPECT_STREQ(library.function<const char*()>("kraken_plugins_version")(), KRAKEN_VERSION);
  EXPECT_EQ(library.function<int32_t()>("kraken_plugins_tensorrt_version")() / 10000, NV_TENSORRT_MAJOR);
  EXPECT_STREQ(library.function<const char*()>("kraken_plugins_architectures")(), KRAKEN_ARCHITECTURES);
}

TEST(PluginLibrary, HasOneCreatorForEachOp) {
  std::vector<std::string> names;
  for (nvinfer1::IPluginCreatorV3One* creator : creators()) {
    names.emplace_back(creator->getPluginName());
    EXPECT_STREQ(creator->getPluginNamespace(), KRAKEN_PLUGINS_NAMESPACE);
    EXPECT_STREQ(creator->getPluginVersion(), "1");
    EXPECT_STREQ(creator->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE");
  }
  EXPECT_EQ(names, (std::vector<std::string>{"StartNorm", "JoinNorm", "JoinAdd", "AllReduce", "Attention"}));
}

// A machine without a driver; with one, this makes a communicator of one rank.
TEST(PluginLibrary, ACommunicatorWithoutADeviceIsAnErrorThatSaysSo) {
  kraken_communicator_options options{};
  options.struct_size = sizeof(options);
  options.ranks = 1;
  options.capacity = 1024;
  const auto create = plugin_library().function<kraken_communicator*(const kraken_communicator_options*)>(
      "kraken_communicator_create");
  kraken_communicator* communicator = create(&options);
  if (communicator != nullptr) {
    plugin_library().function<void(kraken_communicator*)>("kraken_communicator_destroy")(communicator);
    GTEST_SKIP() << "this machine has a device";
  }
  EXPECT_EQ(last_error().find("kraken: communicator: "), 0u) << last_error();
  EXPECT_NE(last_error().find(" failed: "), std::string::npos) << last_error();
  EXPECT_NE(last_error().find("(cudaError"), std::string::npos) << last_error();
}

TEST(PluginLibrary, ACacheWithoutADeviceIsAnErrorThatSaysSo) {
  const kraken_kv_cache_options options = {sizeof(options), KRAKEN_FLOAT16, 2, 4, 113, 64, 3};
  const auto bytes =
      plugin_library().function<int64_t(const kraken_kv_cache_options*)>("kraken_kv_cache_bytes");
  EXPECT_EQ(bytes(&options), 2 * 3 * 2 * 4 * 64 * 120 * 2);
  const auto create =
      plugin_library().function<kraken_kv_cache*(const kraken_kv_cache_options*)>("kraken_kv_cache_create");
  kraken_kv_cache* cache = create(&options);
  if (cache != nullptr) {
    plugin_library().function<void(kraken_kv_cache*)>("kraken_kv_cache_destroy")(cache);
    GTEST_SKIP() << "this machine has a device";
  }
  EXPECT_NE(last_error().find("allocating a key/value cache of 737280 bytes failed: "), std::string::npos)
      << last_error();
}

}  // namespace
}  // namespace kraken::plugins
