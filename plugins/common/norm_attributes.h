// What StartNorm and JoinNorm know of their norm.
#pragma once

#include <limits>

#include "common/plugin.h"
#include "kernels/types.h"

namespace kraken::plugins {

struct NormAttributes {
  int32_t exchange = 0;  // e: which start belongs to which join
  int32_t ways = 1;      // W
  int32_t width = 1;     // d
  int32_t rms = 0;       // 1: RMS norm, 0: layer norm
  int32_t bias = 0;      // 1: there is a bias input behind the weight
  float epsilon = 1e-5f;

  template <typename Visitor>
  static void describe(NormAttributes& a, Visitor& visitor) {
    visitor.integer("exchange", a.exchange, 0, std::numeric_limits<int32_t>::max());
    visitor.integer("ways", a.ways, 1, std::numeric_limits<int32_t>::max());
    visitor.integer("width", a.width, 1, kernels::kMaxWidth);
    visitor.integer("rms", a.rms, 0, 1);
    visitor.integer("bias", a.bias, 0, 1);
    visitor.positive("epsilon", a.epsilon);
  }

  // Both data tensors are [W,T,d], with one T where they have the same rows; the weights [W,d].
  void check_shapes(const char* first, const char* second, std::span<const nvinfer1::Dims> inputs,
                    bool same_rows = true) const {
    require_shape(first, inputs[0], {ways, -1, width});
    require_shape(second, inputs[1], {ways, same_rows ? inputs[0].d[1] : -1, width});
    require_shape("weight", inputs[2], {ways, width});
    if (bias) require_shape("bias", inputs[3], {ways, width});
  }

  kernels::NormSpec spec(kernels::DType dtype, int64_t tokens, const void* const* inputs) const {
    kernels::NormSpec spec;
    spec.kind = rms ? kernels::NormKind::Rms : kernels::NormKind::Layer;
    spec.dtype = dtype;
    spec.ways = ways;
    spec.tokens = tokens;
    spec.width = width;
    spec.epsilon = epsilon;
    spec.weight = static_cast<const float*>(inputs[2]);
    spec.bias = bias ? static_cast<const float*>(inputs[3]) : nullptr;
    return spec;
  }
};

}  // namespace kraken::plugins
