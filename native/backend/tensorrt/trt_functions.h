// The functions of an opened libnvinfer, and the log that everything made with them speaks to.
#pragma once

#include <NvInfer.h>

#include <memory>
#include <string>

#include "backend/tensorrt/device.h"
#include "backend/tensorrt/trt_log.h"

namespace kraken::tensorrt {

struct TrtFunctions {
  int32_t (*version)() = nullptr;
  void* (*create_builder)(void* logger, int32_t version) = nullptr;
  void* (*create_runtime)(void* logger, int32_t version) = nullptr;
  nvinfer1::IPluginRegistry* (*registry)() = nullptr;
  TrtLog* log = nullptr;
};

std::unique_ptr<Device> open_device(const TrtFunctions& functions, int ordinal);
Plan build_plan(const TrtFunctions& functions, const PlanRequest& request);
std::unique_ptr<Engine> load_engine(const TrtFunctions& functions, nvinfer1::IRuntime& runtime,
                                    std::span<const std::byte> plan, cudaStream_t stream);

}  // namespace kraken::tensorrt
