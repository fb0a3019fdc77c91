// JoinNorm(a[W,T,d], x[W,T,d], weight[W,d], bias[W,d]?) → Norm(a + (S − x))[W,T,d], where S is the sum of
// exchange e, which it waits for. Unbound: Norm(a).
#pragma once

#include "common/norm_attributes.h"

namespace kraken::plugins {

class JoinNormPlugin : public Plugin {
 public:
  static constexpr const char* kName = "JoinNorm";
  using Attributes = NormAttributes;
  template <typename Visitor>
  static void describe(Attributes& a, Visitor& visitor) {
    NormAttributes::describe(a, visitor);
  }

  explicit JoinNormPlugin(const Attributes& attributes) : Plugin(kName), a_(attributes) {
    describe(a_, fields_);
  }
  nvinfer1::IPluginV3* clone() noexcept override;

 protected:
  JoinNormPlugin(const JoinNormPlugin& other) : Plugin(other), a_(other.a_) { describe(a_, fields_); }
  Inputs inputs() const override { return {2, 1 + a_.bias, 0}; }
  void check_shapes(std::span<const nvinfer1::Dims> inputs) const override {
    a_.check_shapes("a", "x", inputs);
  }
  void run(const Call& call) override;

 private:
  Attributes a_;
};

}  // namespace kraken::plugins
