#include "backend/unavailable_backend.h"

namespace kraken {

const Backend& trtllm_backend() {
  static const UnavailableBackend backend("tensorrt-llm",
                                          "this build has no TensorRT-LLM backend; use backend \"cpu\"");
  return backend;
}

}  // namespace kraken
