// libcuda.so.1 with eight GPUs.
#include "events.h"

STAND_IN int cuInit(unsigned) {
  return 0;
}
STAND_IN int cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return ordinal < 8 ? 0 : 101;
}
STAND_IN int cuDevicePrimaryCtxRetain(void** context, int device) {
  static int contexts[8];
  *context = &contexts[device];
  event("GPU " + std::to_string(device));
  return 0;
}
STAND_IN int cuCtxSetCurrent(void*) {
  return 0;
}
