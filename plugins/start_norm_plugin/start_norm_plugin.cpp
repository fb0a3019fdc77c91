#include "start_norm_plugin/start_norm_plugin.h"

#include "common/error.h"
#include "common/log.h"
#include "kernels/norm.h"

namespace kraken::plugins {

nvinfer1::IPluginV3* StartNormPlugin::clone() noexcept {
  return guarded(kName, static_cast<nvinfer1::IPluginV3*>(nullptr),
                 [&]() -> nvinfer1::IPluginV3* { return new StartNormPlugin(*this); });
}

void StartNormPlugin::run(const Call& call) {
  const int64_t tokens = call.shape.d[1];
  const kernels::NormSpec spec = a_.norm.spec(call.dtype, tokens, call.inputs);
  const Exchange exchange = {a_.norm.exchange, call.dtype, tokens * a_.norm.width, a_.joined_by_norm != 0};
  SendTarget target;
  if (call.communicator != nullptr) target = call.communicator->prepare(exchange);
  check_cuda(kernels::start_norm(spec, call.inputs[0], call.inputs[1], call.output, target.sum, call.stream,
                                 target.announce),
             "the kernel");
  if (call.communicator != nullptr) call.communicator->start(exchange, call.stream);
}

}  // namespace kraken::plugins
