// The real TensorRT library in its CPU-only mode, with our plugins, compiled for the host, in its registry.
// One per process. The switch for that mode (TRT_INTERNAL_OPTIONS=--cpu_only=1) is the test runner's to set.
#pragma once

#include <NvInfer.h>

#include <memory>
#include <string>

namespace kraken::test {

class HostTensorRt {
 public:
  // Null, and why, where this process cannot have it: KRAKEN_TENSORRT_10_LIBRARY (or _11_) or the switch is
  // not set. Throws std::runtime_error where it should have it and has not.
  static HostTensorRt* get(std::string& why_not);

  nvinfer1::IBuilder& builder() const { return *builder_; }
  // What TensorRT and the plugins have complained of since the last call.
  std::string take_problems();

 private:
  class Log : public nvinfer1::ILogger, public nvinfer1::ILoggerFinder {
   public:
    void log(Severity severity, const char* message) noexcept override;
    nvinfer1::ILogger* findLogger() override { return this; }
    std::string problems;
  };
  explicit HostTensorRt(const char* library);

  Log log_;
  std::unique_ptr<nvinfer1::IBuilder> builder_;
};

}  // namespace kraken::test
