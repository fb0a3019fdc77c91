// Finds and opens what a GPU backend needs at run time: the driver, TensorRT, and this build's two libraries
// for that major of TensorRT. Nothing of it is linked, so every build has this and says what is missing.
//
// Majors are compared before any other call: TensorRT of another major than the headers a library was
// compiled with is called through tables of another layout.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/tensorrt/device.h"
#include "backend/tensorrt/plugins_library.h"

namespace kraken::tensorrt {

// What libkraken_tensorrt_trtN.so exports as kraken_tensorrt_open: TensorRT as this build uses it, from the
// opened libnvinfer and plugins. Null when `build_id` is not that of the library: the two share C++ classes.
using OpenTensorRt = const TensorRt*(const char* build_id, void* nvinfer, void* plugins);

struct Gpu {
  const TensorRt* tensorrt = nullptr;
  PluginsLibrary plugins;
};

// Where to look. Tests have places of their own.
struct GpuPlaces {
  std::string built;  // what the GPU half was built with; empty: it was not, because of `missing`
  std::string missing;
  std::string driver = "libcuda.so.1";
  std::string tensorrt_root;  // TENSORRT_ROOT: its lib is looked in first
  std::string directory;      // of this build's libraries
};
GpuPlaces this_build();

// Where libnvinfer of that major may lie, in the order to look in.
std::vector<std::string> nvinfer_paths(int major, const GpuPlaces& places);
inline constexpr const char* kTensorRtRemedy =
    "install TensorRT, or name its folder in TENSORRT_ROOT or its lib folder in LD_LIBRARY_PATH";

// Why there cannot be a GPU backend here, as far as that is known without starting the driver or opening
// TensorRT; else empty.
std::string gpu_trouble(const GpuPlaces& places);

// `major`: of the TensorRT an engine was built with; 0: the newest there is. Throws ERR_BACKEND_UNAVAILABLE
// naming what is missing or does not fit.
Gpu open_gpu(const GpuPlaces& places, int major);
// Of this build, opened once for each major and never closed.
const Gpu& gpu(int major);

}  // namespace kraken::tensorrt
