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
  const int64_t tokens = call.shape.d[1], sent = call.input_descs[0].dims.d[1];
  const kernels::NormSpec spec = a_.norm.spec(call.dtype, tokens, call.inputs);
  const Exchange exchange = {a_.norm.exchange, call.dtype, sent * a_.norm.width, a_.joined_by_norm != 0};
  const void *send = call.inputs[0], *x = call.inputs[1];
  if (call.communicator == nullptr) {
    check_cuda(kernels::norm(spec, x, call.output, call.stream), "the kernel");
    return;
  }
  const SendTarget target = call.communicator->prepare(exchange);
  if (sent == tokens) {
    check_cuda(kernels::start_norm(spec, send, x, call.output, target.sum, call.stream, target.announce),
               "the kernel");
    call.communicator->start(exchange, call.stream);
    return;
  }
  kernels::NormSpec sending = spec;
  sending.tokens = sent;
  check_cuda(kernels::send_sum_of_ways(sending, send, target.sum, call.stream, target.announce),
             "the sending kernel");
  call.communicator->start(exchange, call.stream);
  check_cuda(kernels::norm(spec, x, call.output, call.stream), "the kernel");
}

}  // namespace kraken::plugins
