// AllReduce(x) → Σ of x over ranks, any shape. Blocks the stream: nothing runs beside it. Unbound: x.
#pragma once

#include "common/plugin.h"

namespace kraken::plugins {

class AllReducePlugin : public Plugin {
 public:
  static constexpr const char* kName = "AllReduce";
  struct Attributes {};
  template <typename Visitor>
  static void describe(Attributes&, Visitor&) {}

  explicit AllReducePlugin(const Attributes&) : Plugin(kName) {}
  nvinfer1::IPluginV3* clone() noexcept override;

 protected:
  AllReducePlugin(const AllReducePlugin& other) = default;
  Inputs inputs() const override { return {1, 0, 0}; }
  void check_shapes(std::span<const nvinfer1::Dims>) const override {}
  void run(const Call& call) override;
};

}  // namespace kraken::plugins
