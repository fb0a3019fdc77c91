#include "interpreted_tensorrt.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

#include "backend/tensorrt/lowering.h"
#include "backend/tensorrt/weight_reader.h"
#include "host_device.h"
#include "interpreter/interpreter.h"

namespace kraken::test {
namespace {

// Outlives the file that the plan was built from, as a plan's weights do.
class CopiedWeights : public tensorrt::WeightReader {
 public:
  explicit CopiedWeights(const tensorrt::WeightReader& from) : from_(&from) {}
  Stored read(const WeightSpec& weight) const override {
    Stored stored = from_->read(weight);
    const auto count = static_cast<size_t>(
        std::accumulate(weight.shape.begin(), weight.shape.end(), int64_t{1}, std::multiplies<>()));
    copies_.emplace_back(stored.data, stored.data + count * size_of(stored.dtype));
    stored.data = copies_.back().data();
    return stored;
  }

 private:
  const tensorrt::WeightReader* from_;  // while the network is lowered
  mutable std::vector<std::vector<std::byte>> copies_;
};

}  // namespace

struct InterpretedTensorRt::Network {
  explicit Network(const tensorrt::WeightReader& reader) : weights(reader), store(weights) {}
  CopiedWeights weights;
  tensorrt::WeightStore store;
  std::unique_ptr<nvinfer1::INetworkDefinition> definition;
};

namespace {

using Network = InterpretedTensorRt::Network;

class InterpretedContext final : public tensorrt::Context {
 public:
  InterpretedContext(Network& network, HostDevice::Stream& stream)
      : interpreter_(*network.definition), stream_(stream) {}

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
    Interpreter::Tensors inputs;
    for (const auto& [name, sizes] : shapes) {
      const auto* begin = static_cast<const int32_t*>(addresses.at(name));
      inputs.emplace(name, HostTensor::integers({begin, begin + volume(sizes)}, sizes));
    }
    interpreter_.run(inputs).at(tensorrt::kLogits).store(addresses.at(tensorrt::kLogits));
  }

  const Interpreter interpreter_;
  HostDevice::Stream& stream_;
  Shapes shapes_;
  Addresses addresses_;
};

class InterpretedEngine final : public tensorrt::Engine {
 public:
  InterpretedEngine(std::shared_ptr<Network> network, HostDevice::Stream& stream)
      : network_(std::move(network)), stream_(stream) {}
  size_t activation_bytes(tensorrt::Phase) const override { return 1 << 20; }
  std::unique_ptr<tensorrt::Context> make_context(tensorrt::Phase, void*, size_t) override {
    return std::make_unique<InterpretedContext>(*network_, stream_);
  }

 private:
  const std::shared_ptr<Network> network_;
  HostDevice::Stream& stream_;
};

class InterpretedDevice final : public HostDevice {
 public:
  using Find = std::function<std::shared_ptr<Network>(const std::string&)>;
  explicit InterpretedDevice(Find find) : find_(std::move(find)) {}
  std::unique_ptr<tensorrt::Engine> load(std::span<const std::byte> plan) override {
    return std::make_unique<InterpretedEngine>(
        find_({reinterpret_cast<const char*>(plan.data()), plan.size()}), stream_);
  }

 private:
  const Find find_;
};

}  // namespace

tensorrt::PluginsLibrary linked_plugins() {
  tensorrt::PluginsLibrary library;
#define KRAKEN_LINKED(name) library.name = ::name;
  KRAKEN_PLUGIN_FUNCTIONS(KRAKEN_LINKED)
#undef KRAKEN_LINKED
  library.kraken_plugins_architectures = [] { return "90"; };
  return library;
}

InterpretedTensorRt::~InterpretedTensorRt() = default;

std::unique_ptr<tensorrt::Device> InterpretedTensorRt::open(int) const {
  return std::make_unique<InterpretedDevice>([this](const std::string& number) {
    const std::lock_guard lock(mutex_);
    return networks_.at(number);
  });
}

tensorrt::Plan InterpretedTensorRt::build(const tensorrt::PlanRequest& request) const {
  auto network = std::make_shared<Network>(*request.weights);
  network->definition.reset(tensorrt::create_network(tensorrt_.builder()));
  const tensorrt::LoweringOptions options = {
      request.dtype,           request.limits.max_tokens,  request.limits.max_sequences,
      request.limits.max_rows, request.limits.max_context, request.block_tokens};
  try {
    network->store = tensorrt::lower(*request.graph, network->weights, options, *network->definition);
  } catch (const std::exception& error) {
    throw std::runtime_error(std::string(error.what()) + "\n" + tensorrt_.take_problems());
  }
  tensorrt::Plan plan;
  for (int32_t i = 0; i < network->definition->getNbLayers(); ++i) {
    if (network->definition->getLayer(i)->getType() == nvinfer1::LayerType::kPLUGIN_V3) ++plan.plugin_layers;
  }
  const std::lock_guard lock(mutex_);
  const std::string number = std::to_string(networks_.size());
  networks_.emplace(number, std::move(network));
  const auto* begin = reinterpret_cast<const std::byte*>(number.data());
  plan.bytes.assign(begin, begin + number.size());
  return plan;
}

}  // namespace kraken::test
