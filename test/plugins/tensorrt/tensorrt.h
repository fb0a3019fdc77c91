// The real TensorRT, opened at run time, and our plugin library beside it. A test needs
// KRAKEN_TENSORRT_10_LIBRARY or _11_ (the path of libnvinfer.so of this program's major); without it, it is
// skipped and says so.
#pragma once

#include <NvInfer.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kraken_plugins.h"

namespace kraken::plugins {

// Collects what TensorRT and the plugins say.
class Log : public nvinfer1::ILogger, public nvinfer1::ILoggerFinder {
 public:
  struct Line {
    Severity severity;
    std::string text;
  };
  void log(Severity severity, const char* message) noexcept override {
    lines_.push_back({severity, message});
  }
  nvinfer1::ILogger* findLogger() override { return this; }

  const std::vector<Line>& lines() const { return lines_; }
  bool contains(const std::string& fragment) const {
    for (const Line& line : lines_) {
      if (line.text.find(fragment) != std::string::npos) return true;
    }
    return false;
  }
  // For a failure's message.
  std::string problems() const {
    std::string text;
    for (const Line& line : lines_) {
      if (line.severity <= Severity::kWARNING) text += line.text + "\n";
    }
    return text;
  }
  void clear() { lines_.clear(); }

 private:
  std::vector<Line> lines_;
};

// A shared library that stays open.
class Library {
 public:
  explicit Library(const char* path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) ADD_FAILURE() << dlerror();
  }
  void* handle() const { return handle_; }
  template <typename Function>
  Function* function(const char* name) const {
    auto* found = reinterpret_cast<Function*>(dlsym(handle_, name));
    if (found == nullptr) ADD_FAILURE() << "no function " << name;
    return found;
  }

 private:
  void* handle_;
};

inline const Library& plugin_library() {
  static const Library library(KRAKEN_PLUGIN_LIBRARY);
  return library;
}

inline std::string last_error() {
  return plugin_library().function<const char*()>("kraken_plugins_last_error")();
}

inline std::vector<nvinfer1::IPluginCreatorV3One*> creators() {
  int32_t count = 0;
  const auto get =
      plugin_library().function<nvinfer1::IPluginCreatorInterface* const*(int32_t&)>("getCreators");
  nvinfer1::IPluginCreatorInterface* const* list = get(count);
  std::vector<nvinfer1::IPluginCreatorV3One*> found;
  for (int32_t i = 0; i < count; ++i) found.push_back(static_cast<nvinfer1::IPluginCreatorV3One*>(list[i]));
  return found;
}

class TensorRt : public testing::Test {
 protected:
  void SetUp() override {
    constexpr const char* kVariable =
        NV_TENSORRT_MAJOR == 10 ? "KRAKEN_TENSORRT_10_LIBRARY" : "KRAKEN_TENSORRT_11_LIBRARY";
    const char* path = std::getenv(kVariable);
    if (path == nullptr)
      GTEST_SKIP() << kVariable << " is not set: `npm run test:tensorrt` brings the library";
    static const Library opened(path);
    library = &opened;
    const int32_t version = library->function<int32_t()>("getInferLibVersion")();
    ASSERT_EQ(version / 10000, NV_TENSORRT_MAJOR) << "another major must not be called";
  }
  nvinfer1::IPluginRegistry& registry() const {
    return *library->function<nvinfer1::IPluginRegistry*()>("getPluginRegistry")();
  }
  const Library* library = nullptr;
};

}  // namespace kraken::plugins
