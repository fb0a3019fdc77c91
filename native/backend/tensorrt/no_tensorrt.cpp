#include "backend/unavailable_backend.h"

namespace kraken {

const Backend& tensorrt_backend() {
  static const UnavailableBackend backend("tensorrt",
                                          "this build has no TensorRT backend; use backend \"cpu\"");
  return backend;
}

}  // namespace kraken
