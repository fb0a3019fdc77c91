// TensorRT as the runtime sees it (backend/tensorrt/device.h), where a plan is the lowered network itself and
// an engine runs it in interpreters, on the host: everything but TensorRT's own kernels is what runs on a
// GPU.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "backend/tensorrt/device.h"
#include "backend/tensorrt/plugins_library.h"
#include "interpreter/host_tensorrt.h"

namespace kraken::test {

// The plugins as they are linked into this program.
tensorrt::PluginsLibrary linked_plugins();

class InterpretedTensorRt final : public tensorrt::TensorRt {
 public:
  explicit InterpretedTensorRt(HostTensorRt& tensorrt) : tensorrt_(tensorrt) {}
  ~InterpretedTensorRt() override;

  std::string version() const override { return "interpreted"; }
  std::vector<tensorrt::DeviceInfo> devices() const override { return {8, {"the host", 90}}; }
  tensorrt::DeviceMemory memory(int) const override { return {size_t{8} << 30, size_t{8} << 30}; }
  std::unique_ptr<tensorrt::Device> open(int device) const override;
  // Its bytes are a number, by which load() finds the network.
  tensorrt::Plan build(const tensorrt::PlanRequest& request) const override;

  struct Network;

 private:
  HostTensorRt& tensorrt_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::shared_ptr<Network>> networks_;
};

}  // namespace kraken::test
