// JoinAdd(x) → x + S, where S is the sum of exchange e, which it waits for. x is [T,d], or [1,T,d] as the
// other plugins shape it. Unbound: x.
#pragma once

#include <limits>

#include "common/plugin.h"

namespace kraken::plugins {

class JoinAddPlugin : public Plugin {
 public:
  static constexpr const char* kName = "JoinAdd";
  struct Attributes {
    int32_t exchange = 0;
    int32_t width = 1;
  };
  template <typename Visitor>
  static void describe(Attributes& a, Visitor& visitor) {
    visitor.integer("exchange", a.exchange, 0, std::numeric_limits<int32_t>::max());
    visitor.integer("width", a.width, 1, kernels::kMaxWidth);
  }

  explicit JoinAddPlugin(const Attributes& attributes) : Plugin(kName), a_(attributes) {
    describe(a_, fields_);
  }
  nvinfer1::IPluginV3* clone() noexcept override;

 protected:
  JoinAddPlugin(const JoinAddPlugin& other) : Plugin(other), a_(other.a_) { describe(a_, fields_); }
  Inputs inputs() const override { return {1, 0, 0}; }
  void check_shapes(std::span<const nvinfer1::Dims> inputs) const override;
  void run(const Call& call) override;

 private:
  Attributes a_;
};

}  // namespace kraken::plugins
