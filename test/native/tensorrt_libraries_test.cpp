// What is said where a library of the GPU backend is missing, or is another than it should be: each case has
// a folder of its own with stand-ins (fake_gpu_library.cpp) under the real names.
#include <dlfcn.h>
#include <unistd.h>

#include <filesystem>

#include "backend/tensorrt/libraries.h"
#include "executor_harness.h"

namespace kraken::tensorrt {
namespace {

namespace fs = std::filesystem;

class TensorRtLibraries : public testing::Test {
 protected:
  TensorRtLibraries() {
    places.built = "CUDA, TensorRT";
    renew();
  }
  ~TensorRtLibraries() override { fs::remove_all(folder_); }

  // An empty folder, at a path that was never opened: what is open stays what it was.
  void renew() {
    static int count = 0;
    fs::remove_all(folder_);
    folder_ = fs::temp_directory_path() /
              ("kraken-libraries-" + std::to_string(getpid()) + "-" + std::to_string(++count));
    fs::create_directories(folder_ / "lib");
    places.directory = places.tensorrt_root = folder_;
    put("tensorrt_10", "libcuda.so.1");
    places.driver = folder_ / "libcuda.so.1";
  }
  void put(const std::string& stand_in, const std::string& as) {
    fs::copy_file(fs::path(KRAKEN_FAKE_LIBRARIES) / ("libfake_" + stand_in + ".so"), folder_ / as,
                  fs::copy_options::overwrite_existing);
  }
  // All that major 10 needs, but for one that `open` would succeed with.
  void put_all() {
    put("tensorrt_10", "lib/libnvinfer.so.10");
    put("plugins_10", "libkraken_plugins_trt10.so");
    put("opener", "libkraken_tensorrt_trt10.so");
  }
  void expect_refused(const std::string& words, int major = 10) {
    try {
      open_gpu(places, major);
      ADD_FAILURE() << "nothing was refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "ERR_BACKEND_UNAVAILABLE");
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  }

  GpuPlaces places;

 private:
  fs::path folder_;
};

TEST_F(TensorRtLibraries, ABuildWithoutGpuCodeSaysWhatItLacked) {
  places.built = "";
  places.missing = "no CUDA compiler";
  expect_refused("no CUDA compiler; `npm run toolchain:gpu`");
  EXPECT_NE(gpu_trouble(places), "");
}

TEST_F(TensorRtLibraries, NoDriver) {
  places.driver = "libcuda-that-is-nowhere.so.1";
  expect_refused("libcuda-that-is-nowhere.so.1 was not found: it comes with NVIDIA's driver");
}

TEST_F(TensorRtLibraries, NoTensorRt) {
  put("opener", "libkraken_tensorrt_trt10.so");
  EXPECT_EQ(gpu_trouble(places), "");
  if (dlopen("libnvinfer.so.10", RTLD_LAZY | RTLD_LOCAL) != nullptr)
    GTEST_SKIP() << "TensorRT is installed here";
  expect_refused("libnvinfer.so.10 was not found; install TensorRT, or name its folder in TENSORRT_ROOT");
}

TEST_F(TensorRtLibraries, TensorRtOfAnotherMajorThanItsName) {
  put_all();
  put("tensorrt_11", "lib/libnvinfer.so.10");
  expect_refused("says it is version 110100, not TensorRT 10: majors may not be mixed");
}

TEST_F(TensorRtLibraries, TensorRtThatIsTooOld) {
  put_all();
  put("tensorrt_10_0", "lib/libnvinfer.so.10");
  expect_refused("is version 100001: TensorRT 10.1 (100100) or newer is needed");
}

TEST_F(TensorRtLibraries, OwnLibrariesThatAreMissingAreNamed) {
  put("tensorrt_10", "lib/libnvinfer.so.10");
  expect_refused("libkraken_plugins_trt10.so");
  put("plugins_10", "libkraken_plugins_trt10.so");
  expect_refused("libkraken_tensorrt_trt10.so");
}

TEST_F(TensorRtLibraries, PluginsOfAnotherMajor) {
  put_all();
  put("plugins_11", "libkraken_plugins_trt10.so");
  expect_refused("libkraken_plugins_trt10.so was compiled with the headers of TensorRT 11");
}

TEST_F(TensorRtLibraries, PluginsOfAnotherInterface) {
  put_all();
  put("plugins_other_interface", "libkraken_plugins_trt10.so");
  expect_refused("has interface 999, this build needs " + std::to_string(KRAKEN_PLUGINS_INTERFACE));
  renew();
  put_all();
  put("plugins_without_unbind", "libkraken_plugins_trt10.so");
  expect_refused("has no kraken_unbind");
}

TEST_F(TensorRtLibraries, ALibraryOfAnotherBuild) {
  put_all();
  expect_refused("libkraken_tensorrt_trt10.so is of another build");
}

TEST_F(TensorRtLibraries, TheNewestMajorThatThisBuildHasLibrariesForIsTaken) {
  put_all();
  put("tensorrt_11", "lib/libnvinfer.so.11");
  expect_refused("libkraken_tensorrt_trt10.so is of another build", 0);  // it came to 10
  renew();
  put_all();
  put("tensorrt_11", "lib/libnvinfer.so.11");
  put("plugins_11", "libkraken_plugins_trt11.so");
  put("opener", "libkraken_tensorrt_trt11.so");
  expect_refused("libkraken_tensorrt_trt11.so is of another build", 0);
}

TEST(TensorRtBackend, IsAskedWithoutStartingAnything) {
  const Backend& backend = find_backend("tensorrt");
  EXPECT_EQ(backend.kv_block_tokens(), 64);
  const Capability capability = backend.capability();
  EXPECT_NE(capability.available, !capability.reason.empty());
}

}  // namespace
}  // namespace kraken::tensorrt
