#include "join_norm_plugin/join_norm_plugin.h"

#include "common/error.h"
#include "common/log.h"
#include "kernels/join_norm.h"

namespace kraken::plugins {

nvinfer1::IPluginV3* JoinNormPlugin::clone() noexcept {
  return guarded(kName, static_cast<nvinfer1::IPluginV3*>(nullptr),
                 [&]() -> nvinfer1::IPluginV3* { return new JoinNormPlugin(*this); });
}

void JoinNormPlugin::run(const Call& call) {
  const int64_t tokens = call.shape.d[1];
  const kernels::NormSpec spec = a_.spec(call.dtype, tokens, call.inputs);
  const void* a = call.inputs[0];
  const void* x = call.inputs[1];
  JoinSource source;
  if (call.communicator != nullptr) {
    const Exchange exchange = {a_.exchange, call.dtype, tokens * a_.width, true};
    source = call.communicator->join(exchange, call.stream);
  }
  const cudaError_t error =
      source.peers != nullptr ? kernels::join_norm_peers(spec, a, x, *source.peers, call.output, call.stream)
                              : kernels::join_norm(spec, a, x, source.sum, call.output, call.stream);
  check_cuda(error, "the kernel");
}

}  // namespace kraken::plugins
