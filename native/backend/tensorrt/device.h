// The seam between what runs a rank and what runs it on: devices, engines and how these are built, as
// libkraken_tensorrt_trtN.so implements them with CUDA and one major of TensorRT, and tests without either.
// Nothing here needs their headers.
//
// A Device belongs to the thread that opened it. Work is enqueued on its one stream, in order; finish() waits
// for it. Failures are kraken::Error: ERR_OUT_OF_MEMORY, ERR_BACKEND_FAILED (TensorRT refuses, with its own
// words), ERR_RANK_LOST (the device failed).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "model/graph.h"

namespace kraken::tensorrt {

class WeightReader;  // weight_reader.h

struct DeviceInfo {
  std::string name;            // "NVIDIA H100 80GB HBM3"
  int compute_capability = 0;  // 90
};

struct DeviceMemory {
  size_t free = 0, total = 0;  // bytes
};

// What every engine is built within: the bounds of its steps.
struct StepLimits {
  int max_tokens = 0;     // T
  int max_sequences = 0;  // S, and T and B of a decode step
  int max_rows = 0;       // B
  int max_context = 0;    // tokens of the longest sequence
};

enum class Phase { Prefill = 0, Decode = 1 };  // the engine's profiles

// An engine in one phase, with tensors bound to it.
class Context {
 public:
  virtual ~Context() = default;
  virtual void set_shape(const char* input, std::span<const int64_t> sizes) = 0;
  virtual void set_address(const char* tensor, void* device_memory) = 0;
  virtual void enqueue() = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  // What a context of that phase computes in.
  virtual size_t activation_bytes(Phase phase) const = 0;
  // Contexts may share their activations: one enqueues at a time.
  virtual std::unique_ptr<Context> make_context(Phase phase, void* activations, size_t bytes) = 0;
};

// Work that was enqueued once while it was captured, and runs again and again.
class CapturedWork {
 public:
  virtual ~CapturedWork() = default;
  virtual void launch() = 0;
};

using Allocation = std::shared_ptr<std::byte>;

class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceMemory memory() const = 0;
  virtual Allocation allocate(size_t bytes) = 0;         // on the device
  virtual Allocation allocate_pinned(size_t bytes) = 0;  // of the host, where copies need no detour
  virtual void copy_to_device(void* device, const void* pinned, size_t bytes) = 0;
  virtual void copy_to_host(void* pinned, const void* device, size_t bytes) = 0;
  // enqueue(stream) enqueues work of its own on the device's CUDA stream; it may be called later, by
  // finish().
  virtual void run(std::function<void(void* stream)> enqueue) = 0;
  virtual void finish() = 0;
  virtual std::unique_ptr<CapturedWork> capture(const std::function<void()>& enqueue) = 0;
  virtual std::unique_ptr<Engine> load(std::span<const std::byte> plan) = 0;
};

struct PlanRequest {
  const Graph* graph = nullptr;
  const WeightReader* weights = nullptr;
  DType dtype = DType::BFloat16;
  StepLimits limits;
  int block_tokens = 0;
  // As in PlanOptions.
  int trtllm_max_input = 0;
  bool gathers_context_logits = false;
  int device = 0;
  std::vector<std::byte>* timings = nullptr;  // the timing cache: read, and replaced by what was learned
  // Called from TensorRT's threads, one at a time, with the share that is done; false cancels (ERR_ABORTED).
  std::function<bool(double)> progress;
};

struct Plan {
  std::vector<std::byte> bytes;
  int plugin_layers = 0;
};

// One major of TensorRT, with Kraken's plugins registered.
class TensorRt {
 public:
  virtual ~TensorRt() = default;
  virtual std::string version() const = 0;  // "10.15.1"
  // In the order of their ordinals. Throws ERR_BACKEND_UNAVAILABLE: no driver, or one that is too old.
  virtual std::vector<DeviceInfo> devices() const = 0;
  virtual DeviceMemory memory(int device) const = 0;
  virtual std::unique_ptr<Device> open(int device) const = 0;
  virtual Plan build(const PlanRequest& request) const = 0;
};

}  // namespace kraken::tensorrt
