// An Engine of TensorRT. Its contexts get their activations from outside, so that all of them share one
// piece.
#include <string>

#include "backend/tensorrt/cuda_check.h"
#include "backend/tensorrt/trt_functions.h"

namespace kraken::tensorrt {
namespace {

class TrtContext : public Context {
 public:
  TrtContext(std::unique_ptr<nvinfer1::IExecutionContext> context, TrtLog& log, cudaStream_t stream)
      : context_(std::move(context)), log_(log), stream_(stream) {}

  void set_shape(const char* input, std::span<const int64_t> sizes) override {
    nvinfer1::Dims dims{};
    dims.nbDims = static_cast<int32_t>(sizes.size());
    std::copy(sizes.begin(), sizes.end(), dims.d);
    if (!context_->setInputShape(input, dims)) refused(std::string("the shape of ") + input);
  }
  void set_address(const char* tensor, void* device_memory) override {
    if (!context_->setTensorAddress(tensor, device_memory)) refused(std::string("the address of ") + tensor);
  }
  void enqueue() override {
    if (!context_->enqueueV3(stream_)) log_.fail("ERR_BACKEND_FAILED", "TensorRT cannot run a step");
  }

 private:
  [[noreturn]] void refused(const std::string& what) {
    log_.fail("ERR_BACKEND_FAILED", "TensorRT refuses " + what);
  }
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
  TrtLog& log_;
  cudaStream_t stream_;
};

class TrtEngine : public Engine {
 public:
  TrtEngine(std::unique_ptr<nvinfer1::ICudaEngine> engine, TrtLog& log, cudaStream_t stream)
      : engine_(std::move(engine)), log_(log), stream_(stream) {}

  size_t activation_bytes(Phase phase) const override {
    return static_cast<size_t>(engine_->getDeviceMemorySizeForProfileV2(static_cast<int32_t>(phase)));
  }

  std::unique_ptr<Context> make_context(Phase phase, void* activations, size_t bytes) override {
    std::unique_ptr<nvinfer1::IExecutionContext> context(
        engine_->createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
    if (!context) log_.fail("ERR_BACKEND_FAILED", "TensorRT makes no execution context");
    if (!context->setOptimizationProfileAsync(static_cast<int32_t>(phase), stream_))
      log_.fail("ERR_BACKEND_FAILED", "TensorRT refuses a profile");
    check_cuda(cudaStreamSynchronize(stream_), "choosing a profile");
    context->setDeviceMemoryV2(activations, static_cast<int64_t>(bytes));
    return std::make_unique<TrtContext>(std::move(context), log_, stream_);
  }

 private:
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  TrtLog& log_;
  cudaStream_t stream_;
};

}  // namespace

std::unique_ptr<Engine> load_engine(const TrtFunctions& functions, nvinfer1::IRuntime& runtime,
                                    std::span<const std::byte> plan, cudaStream_t stream) {
  std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime.deserializeCudaEngine(plan.data(), plan.size()));
  if (!engine)
    functions.log->fail("ERR_ENGINE_CORRUPT", "TensorRT cannot read the plan; build the engine again");
  return std::make_unique<TrtEngine>(std::move(engine), *functions.log, stream);
}

}  // namespace kraken::tensorrt
