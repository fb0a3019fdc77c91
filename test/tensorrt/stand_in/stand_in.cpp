// GPUs, for kraken-worker as it is shipped: one library that is, under their names, what the backend opens as
// its plugins and as its way to TensorRT. Networks are interpreted, plugins and communicators are ours with
// their kernels on the host, and memory can be shared with ranks that are other processes.
//
//   KRAKEN_SHIM_DEVICES      how many GPUs there seem to be
//   KRAKEN_SHIM_SHARED       set: ranks that are processes reach each other's memory
//   KRAKEN_STAND_IN_VERSION  of TensorRT, instead of the real one's; KRAKEN_STAND_IN_GPU: the GPUs' name
//   KRAKEN_STAND_IN_ENDS     where this process ends (ends.h)
#include <cuda_runtime_api.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "backend/tensorrt/libraries.h"
#include "base/error.h"
#include "ends.h"
#include "interpreted_tensorrt.h"
#include "worker/messages.h"

extern "C" void kraken_shim_opens_peer_memory() {
  kraken::test::come_to("ipc");
}

namespace kraken::test {
namespace {

std::string variable(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

HostTensorRt& host() {
  std::string why_not;
  HostTensorRt* opened = HostTensorRt::get(why_not);
  if (opened == nullptr) throw Error("ERR_BACKEND_UNAVAILABLE", "the stand-in for TensorRT: " + why_not);
  return *opened;
}

class StandIn final : public InterpretedTensorRt {
 public:
  StandIn() : InterpretedTensorRt(host(), come_to) {}
  std::string version() const override {
    return variable("KRAKEN_STAND_IN_VERSION", std::to_string(NV_TENSORRT_MAJOR) + "." +
                                                   std::to_string(NV_TENSORRT_MINOR) + "." +
                                                   std::to_string(NV_TENSORRT_PATCH));
  }
  std::vector<tensorrt::DeviceInfo> devices() const override {
    int count = 0;
    cudaGetDeviceCount(&count);
    return {static_cast<size_t>(count), {variable("KRAKEN_STAND_IN_GPU", "stand-in for a GPU"), 90}};
  }
};

}  // namespace
}  // namespace kraken::test

extern "C" __attribute__((visibility("default"))) const kraken::tensorrt::TensorRt* kraken_tensorrt_open(
    const char* build, void*, void*) {
  if (build != kraken::build_id()) return nullptr;
  kraken::test::linked_plugins();  // which the backend finds by their names
  static const kraken::test::StandIn opened;
  return &opened;
}
