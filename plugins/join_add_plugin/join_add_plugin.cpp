#include "join_add_plugin/join_add_plugin.h"

#include "common/error.h"
#include "common/log.h"
#include "kernels/join_norm.h"

namespace kraken::plugins {

nvinfer1::IPluginV3* JoinAddPlugin::clone() noexcept {
  return guarded(kName, static_cast<nvinfer1::IPluginV3*>(nullptr),
                 [&]() -> nvinfer1::IPluginV3* { return new JoinAddPlugin(*this); });
}

void JoinAddPlugin::check_shapes(std::span<const nvinfer1::Dims> inputs) const {
  if (inputs[0].nbDims == 3) {
    require_shape("x", inputs[0], {1, -1, a_.width});
  } else {
    require_shape("x", inputs[0], {-1, a_.width});
  }
}

void JoinAddPlugin::run(const Call& call) {
  const int64_t count = volume(call.shape);
  const void* sum = nullptr;
  if (call.communicator != nullptr) {
    sum = call.communicator->join({a_.exchange, call.dtype, count, false}, call.stream).sum;
    if (sum == nullptr) throw PluginError("the exchange was started as one that a JoinNorm ends");
  }
  check_cuda(kernels::join_add(call.dtype, count, call.inputs[0], sum, call.output, call.stream),
             "the kernel");
}

}  // namespace kraken::plugins
