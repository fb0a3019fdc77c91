// What libkraken_tensorrt_trtN.so exports: TensorRT of one major, with Kraken's plugins in its registry.
#include <NvInfer.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <string>

#include "backend/tensorrt/cuda_check.h"
#include "backend/tensorrt/trt_functions.h"
#include "kraken_plugins.h"
#include "worker/messages.h"

namespace kraken::tensorrt {
namespace {

[[noreturn]] void unavailable(const std::string& why) {
  throw Error("ERR_BACKEND_UNAVAILABLE", "backend tensorrt is not available: " + why);
}

std::string dotted(int32_t version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

template <typename Function>
void find(Function*& function, void* library, const char* name) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  if (function == nullptr) unavailable(std::string("TensorRT or the plugins lack ") + name);
}

// CUDA answers by itself that the driver is missing or too old, before anything depends on it.
int count_devices() {
  int count = 0, driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return count;
  cudaGetLastError();
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const auto cuda = [](int version) {
    return "CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  };
  if (error == cudaErrorInsufficientDriver && driver == 0) unavailable("NVIDIA's driver is not running here");
  if (error == cudaErrorInsufficientDriver) {
    unavailable("the driver is for " + cuda(driver) + ", this build needs one for " + cuda(runtime) +
                " or newer: update the driver");
  }
  if (error == cudaSuccess || error == cudaErrorNoDevice) {
    unavailable("the driver sees no GPU (CUDA_VISIBLE_DEVICES may hide it)");
  }
  unavailable(std::string("CUDA does not start: ") + cudaGetErrorString(error));
}

class OpenedTensorRt : public TensorRt {
 public:
  OpenedTensorRt(void* nvinfer, void* plugins) {
    functions_.log = &log_;
    find(functions_.version, nvinfer, "getInferLibVersion");
    find(functions_.create_builder, nvinfer, "createInferBuilder_INTERNAL");
    find(functions_.create_runtime, nvinfer, "createInferRuntime_INTERNAL");
    find(functions_.registry, nvinfer, "getPluginRegistry");
    void (*set_logger_finder)(nvinfer1::ILoggerFinder*) = nullptr;
    nvinfer1::IPluginCreatorInterface* const* (*get_creators)(int32_t&) = nullptr;
    find(set_logger_finder, plugins, "setLoggerFinder");
    find(get_creators, plugins, "getCreators");
    set_logger_finder(&log_);
    int32_t count = 0;
    nvinfer1::IPluginCreatorInterface* const* creators = get_creators(count);
    for (int32_t i = 0; i < count; ++i) {
      if (!functions_.registry()->registerCreator(*creators[i], KRAKEN_PLUGINS_NAMESPACE))
        log_.fail("ERR_BACKEND_UNAVAILABLE", "TensorRT does not take Kraken's plugins");
    }
  }

  std::string version() const override { return dotted(functions_.version()); }

  std::vector<DeviceInfo> devices() const override {
    std::vector<DeviceInfo> devices(static_cast<size_t>(count_devices()));
    for (size_t i = 0; i < devices.size(); ++i) {
      cudaDeviceProp properties{};
      check_cuda(cudaGetDeviceProperties(&properties, static_cast<int>(i)), "asking for GPU properties");
      devices[i] = {properties.name, properties.major * 10 + properties.minor};
    }
    return devices;
  }

  DeviceMemory memory(int device) const override {
    int before = 0;
    check_cuda(cudaGetDevice(&before), "asking for the current GPU");
    check_cuda(cudaSetDevice(device), "choosing GPU " + std::to_string(device));
    DeviceMemory memory;
    check_cuda(cudaMemGetInfo(&memory.free, &memory.total), "asking for free memory");
    check_cuda(cudaSetDevice(before), "choosing GPU " + std::to_string(before));
    return memory;
  }

  std::unique_ptr<Device> open(int device) const override {
    count_devices();
    return open_device(functions_, device);
  }

  Plan build(const PlanRequest& request) const override {
    count_devices();
    return build_plan(functions_, request);
  }

 private:
  TrtLog log_;
  TrtFunctions functions_;
};

}  // namespace
}  // namespace kraken::tensorrt

extern "C" __attribute__((visibility("default"))) const kraken::tensorrt::TensorRt* kraken_tensorrt_open(
    const char* build, void* nvinfer, void* plugins) {
  if (build != kraken::build_id()) return nullptr;
  static const kraken::tensorrt::OpenedTensorRt opened(nvinfer, plugins);
  return &opened;
}
