// libnvinfer.so.10: its version, and a registry that is only passed on.
#include "events.h"

STAND_IN int getInferLibVersion() {
  return 101303;
}
STAND_IN void* getPluginRegistry() {
  static int registry;
  return &registry;
}
