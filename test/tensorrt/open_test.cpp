// This build's own libraries with the real TensorRT: they open, the plugins register, exceptions cross, and
// without a driver everything that needs one says so, instead of letting TensorRT end the process.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "backend/tensorrt/libraries.h"
#include "base/error.h"

namespace kraken::tensorrt {
namespace {

constexpr const char* kVariable =
    KRAKEN_MAJOR == 10 ? "KRAKEN_TENSORRT_10_LIBRARY" : "KRAKEN_TENSORRT_11_LIBRARY";

class OpenTensorRtTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* library = std::getenv(kVariable);
    if (library == nullptr)
      GTEST_SKIP() << kVariable << " is not set: `npm run test:tensorrt` brings the library";
    GpuPlaces places;
    places.built = "this";
    places.driver = "libc.so.6";  // so that it goes on to where the driver's absence is CUDA's to tell
    places.directory = KRAKEN_LIBRARIES;
    places.tensorrt_root = std::filesystem::path(library).parent_path().parent_path();
    gpu = open_gpu(places, KRAKEN_MAJOR);
  }
  Gpu gpu;
};

TEST_F(OpenTensorRtTest, KnowsItsVersion) {
  EXPECT_EQ(gpu.tensorrt->version().substr(0, 3), std::to_string(KRAKEN_MAJOR) + ".");
  EXPECT_EQ(gpu.plugins.kraken_plugins_tensorrt_version() / 10000, KRAKEN_MAJOR);
}

TEST_F(OpenTensorRtTest, SaysThatThereIsNoDriver) {
  const auto expect_unavailable = [](const auto& call) {
    try {
      call();
      GTEST_SKIP() << "there is a GPU here";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "ERR_BACKEND_UNAVAILABLE");
      EXPECT_NE(std::string(error.what()).find("driver"), std::string::npos) << error.what();
    }
  };
  expect_unavailable([&] { gpu.tensorrt->devices(); });
  expect_unavailable([&] { gpu.tensorrt->open(0); });
  expect_unavailable([&] { gpu.tensorrt->build({}); });
}

}  // namespace
}  // namespace kraken::tensorrt
