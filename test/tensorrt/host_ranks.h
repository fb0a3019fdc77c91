// All ranks of an engine whose networks run in interpreters: threads, as the runtime has them, with real
// communicators and key/value caches of our plugins.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/tensorrt/lowering.h"
#include "interpreter/host_tensorrt.h"
#include "interpreter/interpreter.h"
#include "random_model.h"

namespace kraken::test {

struct HostEngineOptions {
  int ranks = 1;
  tensorrt::LoweringOptions lowering;
  int kv_blocks = 0;
  std::string algorithms;  // of exchanges; empty: the built-in table
  bool communication = true;
  // Another lowering than ours; may replace the Graph by the one that is run.
  std::function<tensorrt::WeightStore(Graph&, const tensorrt::WeightReader&, nvinfer1::INetworkDefinition&)>
      lower;
};

class HostEngine {
 public:
  HostEngine(HostTensorRt& tensorrt, const RandomModel& model, const HostEngineOptions& options);
  ~HostEngine();
  HostEngine(const HostEngine&) = delete;
  HostEngine& operator=(const HostEngine&) = delete;

  // Logits [B,V], gathered from all ranks. Throws what a rank throws.
  std::vector<float> step(const StepBatch& batch) const;
  int plugins(int rank) const;

 private:
  struct Rank;
  std::vector<std::unique_ptr<Rank>> ranks_;
  int vocab_;
  int blocks_;
};

// What the network's inputs are in a step, with `blocks` in a block table.
Interpreter::Tensors network_inputs(const StepBatch& batch, int blocks);

}  // namespace kraken::test
