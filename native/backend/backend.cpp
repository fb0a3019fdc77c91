#include "backend/backend.h"

#include "base/error.h"

namespace kraken {

std::vector<const Backend*> all_backends() {
  return {&cpu_backend(), &tensorrt_backend(), &trtllm_backend()};
}

const Backend& find_backend(const std::string& name) {
  for (const Backend* backend : all_backends()) {
    if (name == backend->name()) return *backend;
  }
  throw Error("ERR_OPTION", "backend must be cpu, tensorrt or tensorrt-llm, got " + name);
}

size_t loaded_weight_bytes(const Backend& backend, DType engine, size_t stored) {
  if (engine == DType::Int8) return stored;  // multiplied as they are
  return stored / size_of(engine) * size_of(backend.compute_dtype(engine));
}

}  // namespace kraken
