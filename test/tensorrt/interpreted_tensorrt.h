// TensorRT as the runtime sees it (backend/tensorrt/device.h), where a plan is what its network is lowered
// from, and an engine runs that in interpreters, on the host: everything but TensorRT's own kernels is what
// runs on a GPU.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "backend/tensorrt/device.h"
#include "backend/tensorrt/plugins_library.h"
#include "interpreter/host_tensorrt.h"

namespace kraken::test {

// The plugins as they are linked into this program.
tensorrt::PluginsLibrary linked_plugins();

// Told what a rank comes to: "start" (of its device), "load", and with each step "prefill" or "decode".
using OnPhase = std::function<void(const char* phase)>;

class InterpretedTensorRt : public tensorrt::TensorRt {
 public:
  explicit InterpretedTensorRt(
      HostTensorRt& tensorrt, OnPhase on_phase = [](const char*) {});
  ~InterpretedTensorRt() override;

  std::string version() const override { return "interpreted"; }
  std::vector<tensorrt::DeviceInfo> devices() const override { return {8, {"the host", 90}}; }
  tensorrt::DeviceMemory memory(int) const override { return {size_t{8} << 30, size_t{8} << 30}; }
  std::unique_ptr<tensorrt::Device> open(int device) const override;
  tensorrt::Plan build(const tensorrt::PlanRequest& request) const override;

  struct Network;

 private:
  std::shared_ptr<Network> lower(std::span<const std::byte> plan) const;

  HostTensorRt& tensorrt_;
  const OnPhase on_phase_;
  mutable std::mutex mutex_;  // of TensorRT's one builder
};

}  // namespace kraken::test
