// One of our plugins as a layer function: attached as an execution context would attach it, then enqueued
// with real buffers on the host.
#pragma once

#include <NvInfer.h>

#include "interpreter/layer_functions.h"

namespace kraken::test {

// Attaches the plugin on this thread, to what is bound to it.
LayerFunction plugin_function(nvinfer1::IPluginV3Layer& layer);

}  // namespace kraken::test
