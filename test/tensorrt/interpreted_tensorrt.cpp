#include "interpreted_tensorrt.h"

#include <cuda_runtime_api.h>

#include <map>
#include <stdexcept>
#include <utility>

#include "backend/tensorrt/lowering.h"
#include "base/error.h"
#include "host_device.h"
#include "interpreted_plan.h"
#include "interpreter/interpreter.h"

namespace kraken::test {

struct InterpretedTensorRt::Network {
  explicit Network(InterpretedPlan&& from) : plan(std::move(from)), store(plan.weights) {}
  const InterpretedPlan plan;
  tensorrt::WeightStore store;
  std::unique_ptr<nvinfer1::INetworkDefinition> definition;
};

namespace {

using Network = InterpretedTensorRt::Network;

class InterpretedContext final : public tensorrt::Context {
 public:
  InterpretedContext(std::shared_ptr<Network> network, tensorrt::Phase phase, HostDevice::Stream& stream,
                     const OnPhase& on_phase)
      : network_(std::move(network)),
        phase_(phase),
        interpreter_(*network_->definition),
        stream_(stream),
        on_phase_(on_phase) {}

  void set_shape(const char* input, std::span<const int64_t> sizes) override {
    shapes_[input].assign(sizes.begin(), sizes.end());
  }
  void set_address(const char* tensor, void* memory) override { addresses_[tensor] = memory; }
  void enqueue() override {
    stream_.work.push_back([this, shapes = shapes_, addresses = addresses_] { run(shapes, addresses); });
  }

 private:
  using Shapes = std::map<std::string, std::vector<int64_t>>;
  using Addresses = std::map<std::string, void*>;

  void run(const Shapes& shapes, const Addresses& addresses) const {
    on_phase_(phase_ == tensorrt::Phase::Prefill ? "prefill" : "decode");
    Interpreter::Tensors inputs;
    for (const auto& [name, sizes] : shapes) {
      const auto* begin = static_cast<const int32_t*>(addresses.at(name));
      inputs.emplace(name, HostTensor::integers({begin, begin + volume(sizes)}, sizes));
    }
    interpreter_.run(inputs).at(tensorrt::kLogits).store(addresses.at(tensorrt::kLogits));
  }

  const std::shared_ptr<Network> network_;
  const tensorrt::Phase phase_;
  const Interpreter interpreter_;
  HostDevice::Stream& stream_;
  const OnPhase& on_phase_;
  Shapes shapes_;
  Addresses addresses_;
};

class InterpretedEngine final : public tensorrt::Engine {
 public:
  InterpretedEngine(std::shared_ptr<Network> network, HostDevice::Stream& stream, const OnPhase& on_phase)
      : network_(std::move(network)), stream_(stream), on_phase_(on_phase) {}
  size_t activation_bytes(tensorrt::Phase) const override { return 1 << 20; }
  std::unique_ptr<tensorrt::Context> make_context(tensorrt::Phase phase, void*, size_t) override {
    return std::make_unique<InterpretedContext>(network_, phase, stream_, on_phase_);
  }

 private:
  const std::shared_ptr<Network> network_;
  HostDevice::Stream& stream_;
  const OnPhase& on_phase_;
};

class InterpretedDevice final : public HostDevice {
 public:
  using Lower = std::function<std::shared_ptr<Network>(std::span<const std::byte>)>;
  InterpretedDevice(Lower lower, const OnPhase& on_phase) : lower_(std::move(lower)), on_phase_(on_phase) {}
  std::unique_ptr<tensorrt::Engine> load(std::span<const std::byte> plan) override {
    on_phase_("load");
    return std::make_unique<InterpretedEngine>(lower_(plan), stream_, on_phase_);
  }

 private:
  const Lower lower_;
  const OnPhase& on_phase_;
};

}  // namespace

tensorrt::PluginsLibrary linked_plugins() {
  tensorrt::PluginsLibrary library;
#define KRAKEN_LINKED(name) library.name = ::name;
  KRAKEN_PLUGIN_FUNCTIONS(KRAKEN_LINKED)
#undef KRAKEN_LINKED
  return library;
}

InterpretedTensorRt::InterpretedTensorRt(HostTensorRt& tensorrt, OnPhase on_phase)
    : tensorrt_(tensorrt), on_phase_(std::move(on_phase)) {}
InterpretedTensorRt::~InterpretedTensorRt() = default;

// The stand-in for CUDA has as many devices as it was told, at least one.
std::unique_ptr<tensorrt::Device> InterpretedTensorRt::open(int device) const {
  int known = 1;
  cudaGetDeviceCount(&known);
  if (cudaSetDevice(device % known) != cudaSuccess) throw std::runtime_error("no such device");
  on_phase_("start");
  return std::make_unique<InterpretedDevice>([this](std::span<const std::byte> plan) { return lower(plan); },
                                             on_phase_);
}

std::shared_ptr<Network> InterpretedTensorRt::lower(std::span<const std::byte> plan) const {
  auto network = std::make_shared<Network>(read_plan(plan));
  const std::lock_guard lock(mutex_);
  network->definition.reset(tensorrt::create_network(tensorrt_.builder()));
  const InterpretedPlan& from = network->plan;
  try {
    network->store = tensorrt::lower(from.graph, from.weights, from.options, *network->definition);
  } catch (const std::exception& error) {
    throw std::runtime_error(std::string(error.what()) + "\n" + tensorrt_.take_problems());
  }
  return network;
}

tensorrt::Plan InterpretedTensorRt::build(const tensorrt::PlanRequest& request) const {
  tensorrt::Plan plan{write_plan(request), 0};
  const std::shared_ptr<Network> network = lower(plan.bytes);
  for (int32_t i = 0; i < network->definition->getNbLayers(); ++i) {
    if (network->definition->getLayer(i)->getType() == nvinfer1::LayerType::kPLUGIN_V3) ++plan.plugin_layers;
  }
  return plan;
}

}  // namespace kraken::test
