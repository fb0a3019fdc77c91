// StartNorm(send[W,M,d], x[W,T,d], weight[W,d], bias[W,d]?) → Norm(x)[W,T,d]. Starts exchange e: Σ of `send`
// over ways and ranks travels while what depends on the output runs. That dependency keeps every scheduler
// from moving the start. M is T, or fewer rows in a last layer, where one kernel becomes two.
#pragma once

#include "common/norm_attributes.h"

namespace kraken::plugins {

class StartNormPlugin : public Plugin {
 public:
  static constexpr const char* kName = "StartNorm";
  struct Attributes {
    NormAttributes norm;
    int32_t joined_by_norm = 1;  // 0: a JoinAdd ends the exchange
  };
  template <typename Visitor>
  static void describe(Attributes& a, Visitor& visitor) {
    NormAttributes::describe(a.norm, visitor);
    visitor.integer("joined_by_norm", a.joined_by_norm, 0, 1);
  }

  explicit StartNormPlugin(const Attributes& attributes) : Plugin(kName), a_(attributes) {
    describe(a_, fields_);
  }
  nvinfer1::IPluginV3* clone() noexcept override;

 protected:
  StartNormPlugin(const StartNormPlugin& other) : Plugin(other), a_(other.a_) { describe(a_, fields_); }
  Inputs inputs() const override { return {2, 1 + a_.norm.bias, 1}; }
  void check_shapes(std::span<const nvinfer1::Dims> inputs) const override {
    a_.norm.check_shapes("send", "x", inputs, false);
  }
  void run(const Call& call) override;

 private:
  Attributes a_;
};

}  // namespace kraken::plugins
