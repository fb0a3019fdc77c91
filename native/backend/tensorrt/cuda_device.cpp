// A Device of CUDA: one stream, and memory that is freed with what holds it.
#include <cuda_runtime_api.h>

#include "backend/tensorrt/cuda_check.h"
#include "backend/tensorrt/trt_functions.h"

namespace kraken::tensorrt {
namespace {

class CapturedGraph : public CapturedWork {
 public:
  CapturedGraph(cudaGraph_t graph, cudaStream_t stream) : stream_(stream) {
    cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check_cuda(error, "instantiating a captured graph");
    // Here rather than at the first launch, which may find the device full of kernels that wait for peers.
    error = cudaGraphUpload(executable_, stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
    if (error != cudaSuccess) cudaGraphExecDestroy(executable_);
    check_cuda(error, "uploading a captured graph");
  }
  ~CapturedGraph() override { cudaGraphExecDestroy(executable_); }
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;

  void launch() override { check_cuda(cudaGraphLaunch(executable_, stream_), "launching a captured graph"); }

 private:
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

class CudaDevice : public Device {
 public:
  CudaDevice(const TrtFunctions& functions, int ordinal) : functions_(functions), ordinal_(ordinal) {
    check_cuda(cudaSetDevice(ordinal), "choosing GPU " + std::to_string(ordinal));
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    runtime_.reset(
        static_cast<nvinfer1::IRuntime*>(functions.create_runtime(functions.log, NV_TENSORRT_VERSION)));
    if (!runtime_) functions.log->fail("ERR_BACKEND_FAILED", "TensorRT makes no runtime");
  }
  ~CudaDevice() override {
    runtime_.reset();
    cudaStreamDestroy(stream_);
  }
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  DeviceMemory memory() const override {
    DeviceMemory memory;
    check_cuda(cudaMemGetInfo(&memory.free, &memory.total), "asking for free memory");
    return memory;
  }

  Allocation allocate(size_t bytes) override {
    void* memory = nullptr;
    check_cuda(cudaMalloc(&memory, bytes), "allocating " + std::to_string(bytes) + " bytes on " + name());
    return {static_cast<std::byte*>(memory), [](std::byte* freed) { cudaFree(freed); }};
  }
  Allocation allocate_pinned(size_t bytes) override {
    void* memory = nullptr;
    check_cuda(cudaMallocHost(&memory, bytes), "allocating " + std::to_string(bytes) + " pinned bytes");
    return {static_cast<std::byte*>(memory), [](std::byte* freed) { cudaFreeHost(freed); }};
  }

  void copy_to_device(void* device, const void* pinned, size_t bytes) override {
    check_cuda(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, stream_),
               "copying inputs to " + name());
  }
  void copy_to_host(void* pinned, const void* device, size_t bytes) override {
    check_cuda(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, stream_),
               "copying logits from " + name());
  }
  void run(std::function<void(void*)> enqueue) override { enqueue(stream_); }
  void finish() override { check_cuda(cudaStreamSynchronize(stream_), "waiting for " + name()); }

  // Other ranks' threads allocate meanwhile, which a capture of all threads would forbid.
  std::unique_ptr<CapturedWork> capture(const std::function<void()>& enqueue) override {
    check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "beginning a capture");
    cudaGraph_t graph = nullptr;
    try {
      enqueue();
    } catch (...) {
      if (cudaStreamEndCapture(stream_, &graph) == cudaSuccess) cudaGraphDestroy(graph);
      cudaGetLastError();
      throw;
    }
    const cudaError_t error = cudaStreamEndCapture(stream_, &graph);
    if (error != cudaSuccess) {
      cudaGetLastError();
      functions_.log->fail("ERR_BACKEND_FAILED",
                           std::string("ending a capture: ") + cudaGetErrorString(error));
    }
    return std::make_unique<CapturedGraph>(graph, stream_);
  }

  std::unique_ptr<Engine> load(std::span<const std::byte> plan) override {
    return load_engine(functions_, *runtime_, plan, stream_);
  }

 private:
  std::string name() const { return "GPU " + std::to_string(ordinal_); }

  const TrtFunctions functions_;
  const int ordinal_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
};

}  // namespace

std::unique_ptr<Device> open_device(const TrtFunctions& functions, int ordinal) {
  return std::make_unique<CudaDevice>(functions, ordinal);
}

}  // namespace kraken::tensorrt
