// libnvinfer_plugin_tensorrt_llm.so
#include "events.h"

STAND_IN bool initTrtLlmPlugins(void*, const char* name_space) {
  event(std::string("their plugins in ") + name_space);
  return true;
}
