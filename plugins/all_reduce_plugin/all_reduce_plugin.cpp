#include "all_reduce_plugin/all_reduce_plugin.h"

#include "common/error.h"
#include "common/log.h"

namespace kraken::plugins {

nvinfer1::IPluginV3* AllReducePlugin::clone() noexcept {
  return guarded(kName, static_cast<nvinfer1::IPluginV3*>(nullptr),
                 [&]() -> nvinfer1::IPluginV3* { return new AllReducePlugin(*this); });
}

void AllReducePlugin::run(const Call& call) {
  const int64_t count = volume(call.shape);
  if (call.communicator != nullptr) {
    call.communicator->all_reduce(call.dtype, count, call.inputs[0], call.output, call.stream);
    return;
  }
  if (call.inputs[0] == call.output) return;
  const size_t bytes = static_cast<size_t>(count * kernels::size_of(call.dtype));
  check_cuda(cudaMemcpyAsync(call.output, call.inputs[0], bytes, cudaMemcpyDeviceToDevice, call.stream),
             "copying");
}

}  // namespace kraken::plugins
