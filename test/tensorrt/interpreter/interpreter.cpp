#include "interpreter/interpreter.h"

#include <stdexcept>
#include <unordered_map>

#include "interpreter/plugin_function.h"

namespace kraken::test {

Interpreter::Interpreter(nvinfer1::INetworkDefinition& network) {
  std::unordered_map<const nvinfer1::ITensor*, size_t> numbers;
  const auto number = [&](const nvinfer1::ITensor* tensor) {
    return numbers.try_emplace(tensor, numbers.size()).first->second;
  };
  const auto named = [&](nvinfer1::ITensor* tensor) -> Named {
    const nvinfer1::Dims dims = tensor->getDimensions();
    return {tensor->getName(), number(tensor), {dims.d, dims.d + dims.nbDims}};
  };
  for (int32_t i = 0; i < network.getNbInputs(); ++i) inputs_.push_back(named(network.getInput(i)));
  for (int32_t i = 0; i < network.getNbLayers(); ++i) {
    nvinfer1::ILayer& layer = *network.getLayer(i);
    const bool is_plugin = layer.getType() == nvinfer1::LayerType::kPLUGIN_V3;
    plugins_ += is_plugin ? 1 : 0;
    Step step{
        layer.getName(),
        is_plugin ? plugin_function(static_cast<nvinfer1::IPluginV3Layer&>(layer)) : layer_function(layer),
        {},
        number(layer.getOutput(0)),
        layer.getOutput(0)->getType(),
        layer.getType() == nvinfer1::LayerType::kCONSTANT};
    for (int32_t input = 0; input < layer.getNbInputs(); ++input)
      step.inputs.push_back(number(layer.getInput(input)));
    steps_.push_back(std::move(step));
  }
  for (int32_t i = 0; i < network.getNbOutputs(); ++i) outputs_.push_back(named(network.getOutput(i)));
  constants_.resize(numbers.size());
  for (const Step& step : steps_) {
    if (step.constant) step.function({}, constants_[step.output]);
  }
}

Interpreter::Tensors Interpreter::run(const Tensors& inputs) const {
  std::vector<HostTensor> computed(constants_.size());
  std::vector<const HostTensor*> tensors(constants_.size());
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i] = &constants_[i];
  for (const Named& input : inputs_) {
    const auto found = inputs.find(input.name);
    if (found == inputs.end()) throw std::runtime_error("input " + input.name + " was not given");
    const std::vector<int64_t>& sizes = found->second.sizes;
    bool fits = sizes.size() == input.sizes.size();
    for (size_t i = 0; fits && i < sizes.size(); ++i) fits = input.sizes[i] < 0 || input.sizes[i] == sizes[i];
    if (!fits) throw std::runtime_error("input " + input.name + " has another shape");
    tensors[input.tensor] = &found->second;
  }
  for (const Step& step : steps_) {
    if (step.constant) continue;
    Operands operands;
    for (const size_t input : step.inputs) operands.push_back(tensors[input]);
    HostTensor& output = computed[step.output];
    output.type = step.type;
    try {
      step.function(operands, output);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error("layer " + step.name + ": " + error.what());
    }
    output.round();
    tensors[step.output] = &output;
  }
  Tensors results;
  for (const Named& output : outputs_) results.emplace(output.name, *tensors[output.tensor]);
  return results;
}

}  // namespace kraken::test
