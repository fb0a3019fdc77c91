// What TensorRT and the plugins say: errors are kept for the message of the exception that follows, the rest
// is for whoever asks with KRAKEN_TENSORRT_LOG=verbose.
#pragma once

#include <NvInferRuntime.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>

#include "base/error.h"

namespace kraken::tensorrt {

class TrtLog : public nvinfer1::ILogger, public nvinfer1::ILoggerFinder {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (verbose_) std::fprintf(stderr, "TensorRT: %s\n", message);
    if (severity > Severity::kERROR) return;
    const std::lock_guard lock(mutex_);
    if (errors_.size() > kMost) return;
    errors_ += (errors_.empty() ? "" : "; ") + std::string(message);
  }
  nvinfer1::ILogger* findLogger() override { return this; }

  // What was said since the last call.
  std::string take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(errors_, {});
  }
  [[noreturn]] void fail(const char* code, const std::string& what) {
    const std::string said = take();
    throw Error(code, what + (said.empty() ? "; TensorRT does not say why" : ": " + said));
  }

 private:
  static constexpr size_t kMost = 4000;  // bytes of a message
  static bool asked() {
    const char* wanted = std::getenv("KRAKEN_TENSORRT_LOG");
    return wanted != nullptr && std::string(wanted) == "verbose";
  }
  const bool verbose_ = asked();
  std::mutex mutex_;
  std::string errors_;
};

}  // namespace kraken::tensorrt
