// Norms and joins in float64.
#pragma once

#include "norm.h"
#include "values.h"

namespace kraken::test {

// A NormSpec whose weights live as long as it.
struct NormCase {
  NormCase(kernels::NormKind kind, DType dtype, int32_t ways, int64_t tokens, int32_t width,
           bool has_bias = true)
      : weights(DType::Float32, int64_t{ways} * width), biases(DType::Float32, int64_t{ways} * width) {
    spec = {kind, dtype, ways, tokens, width, 1e-5f, nullptr, nullptr};
    weight = random_values(DType::Float32, int64_t{ways} * width, 11, 0.3, 1);
    weights.upload(weight);
    spec.weight = static_cast<const float*>(weights.data());
    if (has_bias) {
      bias = random_values(DType::Float32, int64_t{ways} * width, 12, 0.5);
      biases.upload(bias);
      spec.bias = static_cast<const float*>(biases.data());
    }
  }

  int64_t count() const { return spec.ways * spec.tokens * spec.width; }
  std::string name() const {
    return std::string(short_name(spec.dtype)) + (spec.kind == kernels::NormKind::Rms ? " rms" : " layer") +
           (spec.bias == nullptr ? " no-bias" : "") + " W=" + std::to_string(spec.ways) +
           " T=" + std::to_string(spec.tokens) + " d=" + std::to_string(spec.width);
  }

  std::vector<double> normalised(const std::vector<double>& z) const {
    const auto width = static_cast<size_t>(spec.width);
    std::vector<double> result(z.size());
    for (size_t row = 0; row * width < z.size(); ++row) {
      const double* in = &z[row * width];
      const size_t way = row / static_cast<size_t>(spec.tokens);
      double mean = 0, squares = 0;
      if (spec.kind == kernels::NormKind::Layer) {
        for (size_t i = 0; i < width; ++i) mean += in[i] / static_cast<double>(width);
      }
      for (size_t i = 0; i < width; ++i) squares += (in[i] - mean) * (in[i] - mean);
      const double scale =
          1 / std::sqrt(squares / static_cast<double>(width) + static_cast<double>(spec.epsilon));
      for (size_t i = 0; i < width; ++i) {
        const size_t at = way * width + i;
        result[row * width + i] = (in[i] - mean) * scale * weight[at] + (bias.empty() ? 0 : bias[at]);
      }
    }
    return result;
  }

  // Σ over ways, [T,d].
  std::vector<double> summed(const std::vector<double>& x) const {
    std::vector<double> sum(static_cast<size_t>(spec.tokens * spec.width), 0.0);
    for (size_t i = 0; i < x.size(); ++i) sum[i % sum.size()] += x[i];
    return sum;
  }

  // a + (S − x)
  std::vector<double> joined(const std::vector<double>& a, const std::vector<double>& x,
                             const std::vector<double>& sum) const {
    std::vector<double> z(a.size());
    for (size_t i = 0; i < z.size(); ++i) z[i] = a[i] + (sum[i % sum.size()] - x[i]);
    return z;
  }

  kernels::NormSpec spec;
  std::vector<double> weight, bias;

 private:
  Array weights, biases;
};

}  // namespace kraken::test
