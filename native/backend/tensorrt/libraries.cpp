#include "backend/tensorrt/libraries.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <map>
#include <mutex>

#include "base/error.h"
#include "worker/messages.h"

namespace kraken::tensorrt {
namespace {

constexpr std::array kMajors = {11, 10};  // the newest first
// 10.0 lacks functions that we call, and calls of what a library lacks end anywhere.
constexpr int kOldest = 100100;

[[noreturn]] void unavailable(const std::string& why) {
  throw Error("ERR_BACKEND_UNAVAILABLE", "backend tensorrt is not available: " + why);
}

std::string directory_of_this_code() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&open_gpu), &info) == 0 || info.dli_fname == nullptr) return ".";
  const std::string file = info.dli_fname;
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

// Never closed: TensorRT and CUDA do not survive it.
void* open_own(const std::string& directory, const std::string& name) {
  const std::string path = directory + "/" + name;
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) unavailable(std::string(dlerror()) + "; `npm run build:gpu` builds it");
  return handle;
}

std::string nvinfer_name(int major) {
  return "libnvinfer.so." + std::to_string(major);
}

struct FoundTensorRt {
  int major = 0;
  void* handle = nullptr;
};

FoundTensorRt find_tensorrt(const GpuPlaces& places, int wanted) {
  std::string tried;
  for (const int major : kMajors) {
    if (wanted != 0 && major != wanted) continue;
    // This build has libraries for the majors whose headers it found.
    const bool built =
        access((places.directory + "/libkraken_tensorrt_trt" + std::to_string(major) + ".so").c_str(),
               F_OK) == 0;
    if (!built && wanted == 0 && major != kMajors.back()) continue;
    for (const std::string& candidate : nvinfer_paths(major, places)) {
      void* handle = dlopen(candidate.c_str(), RTLD_LAZY | RTLD_LOCAL);
      if (handle == nullptr) continue;
      const auto version = reinterpret_cast<int32_t (*)()>(dlsym(handle, "getInferLibVersion"));
      const int found = version == nullptr ? 0 : version();
      if (found / 10000 != major) {
        unavailable(candidate + " says it is version " + std::to_string(found) + ", not TensorRT " +
                    std::to_string(major) + ": majors may not be mixed; install TensorRT again");
      }
      if (found < kOldest) {
        unavailable(candidate + " is version " + std::to_string(found) + ": TensorRT 10.1 (" +
                    std::to_string(kOldest) + ") or newer is needed");
      }
      return {major, handle};
    }
    tried += (tried.empty() ? "" : " or ") + nvinfer_name(major);
  }
  unavailable(tried + " was not found; " + kTensorRtRemedy);
}

}  // namespace

GpuPlaces this_build() {
  GpuPlaces places;
  places.built = KRAKEN_GPU_BUILT;
  places.missing = KRAKEN_GPU_MISSING;
  places.directory = directory_of_this_code();
  if (const char* root = std::getenv("TENSORRT_ROOT")) places.tensorrt_root = root;
  return places;
}

std::vector<std::string> nvinfer_paths(int major, const GpuPlaces& places) {
  std::vector<std::string> paths;
  if (!places.tensorrt_root.empty()) paths.push_back(places.tensorrt_root + "/lib/" + nvinfer_name(major));
  paths.push_back(nvinfer_name(major));
  return paths;
}

std::string gpu_trouble(const GpuPlaces& places) {
  if (places.built.empty()) {
    return "this build has no GPU code: " + places.missing +
           "; `npm run toolchain:gpu` in a clone brings what it needs, then `npm run build:gpu`; or use "
           "backend \"cpu\"";
  }
  void* driver = dlopen(places.driver.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (driver == nullptr) {
    return places.driver + " was not found: it comes with NVIDIA's driver; or use backend \"cpu\"";
  }
  dlclose(driver);
  return "";
}

Gpu open_gpu(const GpuPlaces& places, int major) {
  if (const std::string trouble = gpu_trouble(places); !trouble.empty()) unavailable(trouble);
  const FoundTensorRt found = find_tensorrt(places, major);
  const std::string suffix = "_trt" + std::to_string(found.major) + ".so";
  void* const plugins = open_own(places.directory, "libkraken_plugins" + suffix);
  void* const library = open_own(places.directory, "libkraken_tensorrt" + suffix);
  Gpu gpu;
  gpu.plugins = plugins_library(plugins, "libkraken_plugins" + suffix);
  if (const int32_t compiled = gpu.plugins.kraken_plugins_tensorrt_version();
      compiled / 10000 != found.major) {
    unavailable("libkraken_plugins" + suffix + " was compiled with the headers of TensorRT " +
                std::to_string(compiled / 10000) +
                ": majors may not be mixed; `npm run build:gpu` builds it");
  }
  const auto open = reinterpret_cast<OpenTensorRt*>(dlsym(library, "kraken_tensorrt_open"));
  if (open != nullptr) gpu.tensorrt = open(build_id().c_str(), found.handle, plugins);
  if (gpu.tensorrt == nullptr) {
    unavailable("libkraken_tensorrt" + suffix + " is of another build; `npm run build:gpu` builds it");
  }
  return gpu;
}

const Gpu& gpu(int major) {
  static std::mutex mutex;
  static std::map<int, Gpu> opened;
  const std::lock_guard lock(mutex);
  const auto known = opened.find(major);
  if (known != opened.end()) return known->second;
  return opened.emplace(major, open_gpu(this_build(), major)).first->second;
}

}  // namespace kraken::tensorrt
