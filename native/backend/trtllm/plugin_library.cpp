#include "backend/trtllm/plugin_library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "kraken_plugins.h"

namespace kraken::trtllm {
namespace {

constexpr char kVariable[] = "KRAKEN_PLUGINS";  // the addon sets it (lib/trtllm/launch.ts)

[[noreturn]] void unavailable(const std::string& what) {
  throw Error("ERR_BACKEND_UNAVAILABLE", what);
}

class NoPlugins : public PluginLibrary {
  void begin_contexts() override {}
  void end_contexts() override {}
};

// Never closed: TensorRT keeps pointers into it as long as the process lives.
void* open(const char* file, int mode, const std::string& help) {
  void* library = dlopen(file, RTLD_NOW | mode);
  if (library == nullptr) {
    const char* why = dlerror();
    unavailable(std::string(why != nullptr ? why : file) + "; " + help);
  }
  return library;
}

template <typename Function>
Function* function(void* library, const char* name, const std::string& help) {
  auto* found = reinterpret_cast<Function*>(dlsym(library, name));
  if (found == nullptr) unavailable(std::string(name) + " is missing; " + help);
  return found;
}

int32_t all_gather(void* world, const void* mine, void* all, int64_t bytes) {
  static_cast<MpiWorld*>(world)->all_gather(mine, all, static_cast<size_t>(bytes));
  return 0;
}

// The one that TensorRT-LLM gives this rank, before it does: buffers are made on the device that is current.
void choose_device(int rank, int per_node) {
  void* driver = open("libcuda.so.1", RTLD_GLOBAL, "NVIDIA's driver is not installed");
  const std::string help = "libcuda.so.1 is not NVIDIA's driver";
  using Handle = int;
  void* context = nullptr;
  Handle device = 0;
  const bool chosen =
      function<int(unsigned)>(driver, "cuInit", help)(0) == 0 &&
      function<int(Handle*, int)>(driver, "cuDeviceGet", help)(&device, rank % per_node) == 0 &&
      function<int(void**, Handle)>(driver, "cuDevicePrimaryCtxRetain", help)(&context, device) == 0 &&
      function<int(void*)>(driver, "cuCtxSetCurrent", help)(context) == 0;
  if (!chosen) {
    unavailable("this machine has no GPU " + std::to_string(rank % per_node) + " for rank " +
                std::to_string(rank) + " of an engine for nodes of " + std::to_string(per_node) +
                ": build it with --gpus-per-node");
  }
}

class KrakenPlugins final : public PluginLibrary {
 public:
  KrakenPlugins(const EngineConfig& engine, MpiWorld& world) : expected_(engine.plugins) {
    const std::string help = "kraken doctor says what is missing";
    void* tensorrt = open("libnvinfer.so.10", RTLD_GLOBAL, help);
    // TensorRT-LLM's own plugins, attention among them.
    void* theirs = open("libnvinfer_plugin_tensorrt_llm.so", RTLD_GLOBAL, help);
    const char* file = std::getenv(kVariable);
    if (file == nullptr || *file == '\0') {
      unavailable("the engine has plugins of ours, and this build has no library of them; " + help);
    }
    void* ours = open(file, RTLD_LOCAL, help);

    const int version = function<int()>(tensorrt, "getInferLibVersion", help)();
    const int built =
        function<decltype(kraken_plugins_tensorrt_version)>(ours, "kraken_plugins_tensorrt_version", help)();
    if (version / 10000 != built / 10000 ||
        function<decltype(kraken_plugins_interface)>(ours, "kraken_plugins_interface", help)() !=
            KRAKEN_PLUGINS_INTERFACE) {
      unavailable(std::string(file) + " is for TensorRT " + std::to_string(built / 10000) +
                  ", TensorRT-LLM uses TensorRT " + std::to_string(version / 10000) + ": build both anew");
    }
    last_error_ = function<decltype(kraken_plugins_last_error)>(ours, "kraken_plugins_last_error", help);
    bind_ = function<decltype(kraken_bind)>(ours, "kraken_bind", help);
    unbind_ = function<decltype(kraken_unbind)>(ours, "kraken_unbind", help);
    destroy_ = function<decltype(kraken_communicator_destroy)>(ours, "kraken_communicator_destroy", help);

    // bool initTrtLlmPlugins(void* logger, const char* namespace): its header would need TensorRT's.
    if (!function<bool(void*, const char*)>(theirs, "initTrtLlmPlugins", help)(nullptr, "tensorrt_llm")) {
      unavailable("TensorRT-LLM could not register its plugins");
    }
    void* registry = function<void*()>(tensorrt, "getPluginRegistry", help)();
    if (function<decltype(kraken_plugins_register)>(ours, "kraken_plugins_register", help)(registry) < 0) {
      unavailable(std::string("our plugins could not be registered: ") + last_error_());
    }
    choose_device(world.rank(), engine.gpus_per_node);
    kraken_communicator_options options{};
    options.struct_size = sizeof options;
    options.rank = world.rank();
    options.ranks = world.size();
    options.capacity = engine.exchange_bytes;
    options.all_gather = all_gather;
    options.context = &world;
    communicator_ =
        function<decltype(kraken_communicator_create)>(ours, "kraken_communicator_create", help)(&options);
    if (communicator_ == nullptr) {
      unavailable(std::string("the GPUs cannot exchange sums: ") + last_error_());
    }
  }
  ~KrakenPlugins() override { destroy_(communicator_); }

  void begin_contexts() override {
    const kraken_binding binding = {communicator_, nullptr};  // the cache is TensorRT-LLM's
    bind_(&binding);
  }
  void end_contexts() override {
    // TensorRT-LLM may have made several contexts, each with all plugins.
    const int32_t found = unbind_();
    if (found > 0 && found % expected_ == 0) return;
    throw Error("ERR_ENGINE_CORRUPT", "the engine has " + std::to_string(expected_) + " plugins, " +
                                          std::to_string(found) +
                                          " got their communicator: build the engine again");
  }

 private:
  const int32_t expected_;
  decltype(kraken_plugins_last_error)* last_error_ = nullptr;
  decltype(kraken_bind)* bind_ = nullptr;
  decltype(kraken_unbind)* unbind_ = nullptr;
  decltype(kraken_communicator_destroy)* destroy_ = nullptr;
  kraken_communicator* communicator_ = nullptr;
};

}  // namespace

std::unique_ptr<PluginLibrary> open_plugins(const EngineConfig& engine, MpiWorld& world) {
  if (engine.plugins == 0) return std::make_unique<NoPlugins>();
  return std::make_unique<KrakenPlugins>(engine, world);
}

}  // namespace kraken::trtllm
