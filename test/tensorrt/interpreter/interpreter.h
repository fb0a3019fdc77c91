// Runs a network that the real TensorRT library has built up, without TensorRT's kernels and without a GPU:
// its layers in float64, each output rounded to its type; our plugins with their own kernels, compiled for
// the host (test/kernels/shim). So a lowering is tested in numbers.
//
// Ranks of one engine are threads, each with an interpreter of its own, which all run the same step at once.
#pragma once

#include <NvInfer.h>

#include <map>
#include <string>
#include <vector>

#include "interpreter/layer_functions.h"

namespace kraken::test {

class Interpreter {
 public:
  using Tensors = std::map<std::string, HostTensor>;

  // Reads the network, which may then go, and attaches its plugins to what is bound to this thread. Throws
  // std::runtime_error for a layer it does not know.
  explicit Interpreter(nvinfer1::INetworkDefinition& network);

  int plugins() const { return plugins_; }
  // Every input of the network by name; returns its outputs. Throws std::runtime_error where a plugin fails
  // or sizes do not fit.
  Tensors run(const Tensors& inputs) const;

 private:
  struct Step {
    std::string name;
    LayerFunction function;
    std::vector<size_t> inputs;  // numbers of tensors
    size_t output;
    nvinfer1::DataType type;
    bool constant;
  };
  struct Named {
    std::string name;
    size_t tensor;
    std::vector<int64_t> sizes;  // −1: any
  };

  std::vector<Named> inputs_, outputs_;
  std::vector<Step> steps_;
  std::vector<HostTensor> constants_;  // by number of tensor; empty for what a step computes
  int plugins_ = 0;
};

}  // namespace kraken::test
