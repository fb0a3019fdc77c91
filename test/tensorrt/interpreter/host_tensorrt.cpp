#include "interpreter/host_tensorrt.h"

#include <dlfcn.h>

#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "kraken_plugins.h"

// The plugins' library, linked in.
extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);
extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder);

namespace kraken::test {
namespace {

constexpr const char* kLibraryVariable =
    NV_TENSORRT_MAJOR == 10 ? "KRAKEN_TENSORRT_10_LIBRARY" : "KRAKEN_TENSORRT_11_LIBRARY";

template <typename Function>
Function* function(void* library, const char* name) {
  auto* found = reinterpret_cast<Function*>(dlsym(library, name));
  if (found == nullptr) throw std::runtime_error(std::string("TensorRT has no ") + name);
  return found;
}

}  // namespace

void HostTensorRt::Log::log(Severity severity, const char* message) noexcept {
  if (severity <= Severity::kWARNING) problems += std::string(message) + "\n";
}

HostTensorRt* HostTensorRt::get(std::string& why_not) {
  const char* library = std::getenv(kLibraryVariable);
  const char* options = std::getenv("TRT_INTERNAL_OPTIONS");
  if (library == nullptr) {
    why_not = std::string(kLibraryVariable) + " is not set: `npm run test:tensorrt` brings the library";
    return nullptr;
  }
  if (options == nullptr || std::string(options).find("--cpu_only=1") == std::string::npos) {
    why_not = "TRT_INTERNAL_OPTIONS has no --cpu_only=1";
    return nullptr;
  }
  static HostTensorRt opened(library);
  return &opened;
}

// The library stays open: its threads and its registry outlive any moment at which it could be closed.
HostTensorRt::HostTensorRt(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  if (function<int32_t()>(library, "getInferLibVersion")() / 10000 != NV_TENSORRT_MAJOR)
    throw std::runtime_error("the library is of another major than the headers");
  setLoggerFinder(&log_);
  builder_.reset(static_cast<nvinfer1::IBuilder*>(function<void*(void*, int32_t)>(
      library, "createInferBuilder_INTERNAL")(static_cast<nvinfer1::ILogger*>(&log_), NV_TENSORRT_VERSION)));
  if (builder_ == nullptr) throw std::runtime_error("TensorRT makes no builder: " + log_.problems);
  int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const* creators = getCreators(count);
  for (int32_t i = 0; i < count; ++i) {
    if (!builder_->getPluginRegistry().registerCreator(*creators[i], KRAKEN_PLUGINS_NAMESPACE))
      throw std::runtime_error("TensorRT does not take our plugins: " + log_.problems);
  }
}

std::string HostTensorRt::take_problems() {
  return std::exchange(log_.problems, "");
}

}  // namespace kraken::test
