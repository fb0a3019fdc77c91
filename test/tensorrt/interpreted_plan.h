// A plan of the interpreted TensorRT: what a network is lowered from, so that a process which did not build
// it can lower it again. A line of JSON, then the weights, one after another.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "backend/tensorrt/device.h"
#include "backend/tensorrt/lowering.h"

namespace kraken::test {

struct InterpretedPlan {
  // As aligned as TensorRT wants them, which a plan in a file is not.
  class Weights final : public tensorrt::WeightReader {
   public:
    Stored read(const WeightSpec& weight) const override;
    void add(const std::string& name, DType dtype, std::span<const std::byte> bytes);

   private:
    struct Copy {
      DType dtype;
      std::vector<std::byte> bytes;
    };
    std::map<std::string, Copy> copies_;
  };

  Graph graph;
  tensorrt::LoweringOptions options;
  Weights weights;
};

std::vector<std::byte> write_plan(const tensorrt::PlanRequest& request);
// Throws ERR_ENGINE_CORRUPT.
InterpretedPlan read_plan(std::span<const std::byte> bytes);

}  // namespace kraken::test
