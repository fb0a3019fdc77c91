#include "backend/tensorrt/gpu_probe.h"

#include <dlfcn.h>

#include <array>
#include <string>

#include "backend/tensorrt/libraries.h"

namespace kraken {
namespace {

class Library {
 public:
  explicit Library(const std::string& path, int flags = 0)
      : handle_(dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL | flags)) {}
  ~Library() {
    if (handle_ != nullptr) dlclose(handle_);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  explicit operator bool() const { return handle_ != nullptr; }
  template <typename Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(handle_, name));
  }

 private:
  void* handle_;
};

std::string dotted(int number, int major_unit, int minor_unit) {
  return std::to_string(number / major_unit) + "." + std::to_string(number % major_unit / minor_unit);
}

GpuFinding find_plugins(const tensorrt::GpuPlaces& places) {
  if (!places.built.empty()) return {true, "built with " + places.built};
  return {false,
          "not built: " + places.missing + "; `npm run toolchain:gpu` in a clone brings what they need"};
}

// One device as "NVIDIA H100 (sm_90, 80 GB)", or nothing if the driver does not say.
std::string describe_device(const Library& driver, int ordinal) {
  constexpr int kComputeMajor = 75, kComputeMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
  const auto get_device = driver.function<int(int*, int)>("cuDeviceGet");
  const auto get_name = driver.function<int(char*, int, int)>("cuDeviceGetName");
  const auto get_attribute = driver.function<int(int*, int, int)>("cuDeviceGetAttribute");
  const auto get_memory = driver.function<int(size_t*, int)>("cuDeviceTotalMem_v2");
  if (!get_device || !get_name || !get_attribute || !get_memory) return "";
  int device = 0, major = 0, minor = 0;
  size_t bytes = 0;
  std::array<char, 128> name{};
  if (get_device(&device, ordinal) != 0 ||
      get_name(name.data(), static_cast<int>(name.size() - 1), device) != 0 ||
      get_attribute(&major, kComputeMajor, device) != 0 ||
      get_attribute(&minor, kComputeMinor, device) != 0 || get_memory(&bytes, device) != 0) {
    return "";
  }
  return std::string(name.data()) + " (sm_" + std::to_string(major) + std::to_string(minor) + ", " +
         std::to_string(bytes / 1000000000) + " GB)";
}

GpuFinding find_driver() {
  const Library driver("libcuda.so.1", RTLD_NODELETE);  // once it was started it must stay
  if (!driver) return {false, "not found: libcuda.so.1, which comes with NVIDIA's driver"};
  const auto init = driver.function<int(unsigned)>("cuInit");
  const auto version = driver.function<int(int*)>("cuDriverGetVersion");
  const auto count = driver.function<int(int*)>("cuDeviceGetCount");
  if (!init || !version || !count) return {false, "libcuda.so.1 is not NVIDIA's driver"};
  if (const int error = init(0); error != 0) {
    return {false, "libcuda.so.1 does not start: cuInit gave error " + std::to_string(error)};
  }
  int number = 0, devices = 0;
  if (version(&number) != 0 || count(&devices) != 0 || devices == 0) {
    return {false, "the driver sees no device"};
  }
  std::string text = "for CUDA " + dotted(number, 1000, 10);
  for (int i = 0; i < devices; ++i) {
    const std::string device = describe_device(driver, i);
    text += (i == 0 ? ": " : ", ") + (device.empty() ? "device " + std::to_string(i) : device);
  }
  return {true, text};
}

GpuFinding find_tensorrt(const tensorrt::GpuPlaces& places) {
  std::string text;
  for (const int major : {10, 11}) {
    for (const std::string& candidate : tensorrt::nvinfer_paths(major, places)) {
      const Library library(candidate);
      const auto version = library ? library.function<int()>("getInferLibVersion") : nullptr;
      if (!version) continue;
      text += (text.empty() ? "" : ", ") + dotted(version(), 10000, 100);
      break;
    }
  }
  if (!text.empty()) return {true, text};
  return {false, std::string("not found: libnvinfer.so.10 or .11; ") + tensorrt::kTensorRtRemedy};
}

GpuFinding find_nccl() {
  const Library library("libnccl.so.2");
  const auto version = library ? library.function<int(int*)>("ncclGetVersion") : nullptr;
  int number = 0;
  if (!version || version(&number) != 0) {
    return {false, "not found: libnccl.so.2; only ranks without peer access and large sums need it"};
  }
  return {true, dotted(number, 10000, 100)};
}

}  // namespace

GpuProbe probe_gpu() {
  const tensorrt::GpuPlaces places = tensorrt::this_build();
  return {find_plugins(places), find_driver(), find_tensorrt(places), find_nccl()};
}

}  // namespace kraken
