// What TensorRT's layers compute, of those that our lowering uses, as NvInfer.h documents them. Everything a
// layer says is read once, here: what comes back knows nothing of TensorRT.
#pragma once

#include <NvInfer.h>

#include <functional>
#include <vector>

#include "interpreter/host_tensor.h"

namespace kraken::test {

using Operands = std::vector<const HostTensor*>;
// Fills the output, whose type is set.
using LayerFunction = std::function<void(const Operands& inputs, HostTensor& output)>;

// Throws std::runtime_error naming a layer, or a use of one, that it does not know.
LayerFunction layer_function(nvinfer1::ILayer& layer);

}  // namespace kraken::test
