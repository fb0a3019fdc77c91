// What a GPU backend would find on this machine: the driver and its devices, TensorRT, NCCL. All are opened,
// asked and, but for the driver, closed again, so nobody pays who does not ask; nothing here needs a CUDA
// header, so every build has it.
#pragma once

#include <string>

namespace kraken {

struct GpuFinding {
  bool found = false;
  std::string text;  // what was found, or why not and what would help
};

struct GpuProbe {
  GpuFinding plugins;  // of this build
  GpuFinding driver, tensorrt, nccl;
};

GpuProbe probe_gpu();

}  // namespace kraken
