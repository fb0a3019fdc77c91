// Small models made of our plugins and stand-ins for attention and MLP, and what they must compute.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "group.h"

namespace kraken::plugins {

using Matrix = std::vector<float>;

// Elementwise work on a stream.
inline void on_stream(cudaStream_t stream, std::function<void()> work) {
  fake_cuda::enqueue(stream, [work] {
    return [work] {
      work();
      return true;
    };
  });
}

// x of way `way` of the whole model at the start of step `step`: any numbers will do that differ.
inline float start_value(int64_t step, int64_t way, int64_t i) {
  return std::sin(0.7f * static_cast<float>(i) + 1.3f * static_cast<float>(way) +
                  2.1f * static_cast<float>(step));
}

inline std::vector<double> layer_norm(const std::vector<double>& x, int64_t width, const Matrix& weight,
                                      int64_t rows_per_way) {
  std::vector<double> out(x.size());
  for (size_t begin = 0; begin < x.size(); begin += width) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < width; ++i) mean += x[begin + i] / static_cast<double>(width);
    for (int64_t i = 0; i < width; ++i)
      square += std::pow(x[begin + i] - mean, 2) / static_cast<double>(width);
    const int64_t way = static_cast<int64_t>(begin) / width / rows_per_way;
    for (int64_t i = 0; i < width; ++i) {
      out[begin + i] = (x[begin + i] - mean) / std::sqrt(square + 1e-5) * weight[way * width + i];
    }
  }
  return out;
}

struct Shape {
  int32_t ranks = 2, ways = 1;  // ways of each rank
  int32_t layers = 6;
  int32_t width = 5;
};

// A Kraken's layers of every rank: n = StartNorm(x, x); a = x + n/2; m = JoinNorm(a, x); x = a + m/4. A step
// ends with a blocking sum of way 0, as a prefill's does.
class KrakenLayers {
 public:
  KrakenLayers(const Group& group, Shape shape, int64_t max_tokens) : group_(group), shape_(shape) {
    weight_.resize(static_cast<size_t>(shape.ways) * shape.width);
    for (size_t i = 0; i < weight_.size(); ++i) weight_[i] = 1.0f + 0.1f * static_cast<float>(i);
    for (int32_t rank = 0; rank < shape.ranks; ++rank) {
      Rank& r = ranks_.emplace_back();
      for (int32_t layer = 0; layer < shape.layers; ++layer) {
        Fields start = norm_fields(layer, shape.ways, shape.width);
        start.integer("joined_by_norm", 1);
        r.start.push_back(group.attach(rank, "StartNorm", start));
        r.join.push_back(group.attach(rank, "JoinNorm", norm_fields(layer, shape.ways, shape.width)));
      }
      r.all_reduce = group.attach(rank, "AllReduce", {});
      const size_t size = static_cast<size_t>(shape.ways * max_tokens * shape.width);
      for (Matrix* matrix : {&r.x, &r.n, &r.a, &r.m, &r.sum}) matrix->resize(size);
    }
  }

  // Enqueues one step on every rank's stream; what comes out is copied to results().
  void enqueue(int64_t step, int64_t tokens) {
    for (int32_t rank = 0; rank < shape_.ranks; ++rank) enqueue_rank(rank, step, tokens);
    expect_step(step, tokens);
  }

  // Largest difference of any step from what it must be.
  double worst_error() const {
    double worst = 0;
    for (size_t step = 0; step < tokens_.size(); ++step) {
      const std::vector<std::vector<double>> expected = reference(steps_[step], tokens_[step]);
      for (int32_t rank = 0; rank < shape_.ranks; ++rank) {
        const Matrix& got = ranks_[rank].results.at(step);
        if (got.size() != expected[rank].size()) return INFINITY;
        for (size_t i = 0; i < got.size(); ++i) {
          worst = std::max(worst, std::isnan(got[i]) ? INFINITY : std::abs(got[i] - expected[rank][i]));
        }
      }
    }
    return worst;
  }

  // A replayed graph's step, whose results are to be checked too.
  void expect_step(int64_t step, int64_t tokens) {
    steps_.push_back(step);
    tokens_.push_back(tokens);
  }

  void enqueue_rank(int32_t rank, int64_t step, int64_t tokens);

 private:
  struct Rank {
    std::vector<std::unique_ptr<nvinfer1::IPluginV3>> start, join;
    std::unique_ptr<nvinfer1::IPluginV3> all_reduce;
    Matrix x, n, a, m, sum;
    std::vector<Matrix> results;  // of each step: x of all ways, then the sum
  };

  std::vector<std::vector<double>> reference(int64_t step, int64_t tokens) const {
    const int64_t row = tokens * shape_.width, size = shape_.ways * row;
    std::vector<std::vector<double>> x(static_cast<size_t>(shape_.ranks), std::vector<double>(size));
    for (int32_t rank = 0; rank < shape_.ranks; ++rank) {
      for (int64_t i = 0; i < size; ++i)
        x[rank][i] = start_value(step, rank * shape_.ways + i / row, i % row);
    }
    for (int32_t layer = 0; layer < shape_.layers; ++layer) {
      std::vector<double> sum(row, 0.0);
      for (const std::vector<double>& of_rank : x) {
        for (int64_t i = 0; i < size; ++i) sum[i % row] += of_rank[i];
      }
      for (std::vector<double>& of_rank : x) {
        std::vector<double> a = layer_norm(of_rank, shape_.width, weight_, tokens), joined(size);
        for (int64_t i = 0; i < size; ++i) {
          a[i] = of_rank[i] + a[i] / 2;
          joined[i] = a[i] + (sum[i % row] - of_rank[i]);
        }
        const std::vector<double> m = layer_norm(joined, shape_.width, weight_, tokens);
        for (int64_t i = 0; i < size; ++i) of_rank[i] = a[i] + m[i] / 4;
      }
    }
    std::vector<double> sum(row, 0.0);
    for (const std::vector<double>& of_rank : x) {
      for (int64_t i = 0; i < row; ++i) sum[i] += of_rank[i];
    }
    for (std::vector<double>& of_rank : x) of_rank.insert(of_rank.end(), sum.begin(), sum.end());
    return x;
  }

  const Group& group_;
  Shape shape_;
  Matrix weight_;
  std::vector<Rank> ranks_;
  std::vector<int64_t> steps_, tokens_;
};

inline void KrakenLayers::enqueue_rank(int32_t rank, int64_t step, int64_t tokens) {
  Rank& r = ranks_[rank];
  const cudaStream_t stream = group_.stream(rank);
  const int64_t size = shape_.ways * tokens * shape_.width, row = tokens * shape_.width;
  const std::vector<int64_t> dims = {shape_.ways, tokens, shape_.width};
  const std::vector<int64_t> weight_dims = {shape_.ways, shape_.width};
  const auto check = [](int32_t result) {
    if (result != 0) throw std::runtime_error(kraken_plugins_last_error());
  };
  on_stream(stream, [&r, this, rank, step, size, row] {
    for (int64_t i = 0; i < size; ++i) r.x[i] = start_value(step, rank * shape_.ways + i / row, i % row);
  });
  for (int32_t layer = 0; layer < shape_.layers; ++layer) {
    check(PluginCall()
              .input(r.x.data(), dims)
              .input(r.x.data(), dims)
              .input(weight_.data(), weight_dims)
              .output(r.n.data(), dims)
              .run(*r.start[layer], stream));
    on_stream(stream, [&r, size] {
      for (int64_t i = 0; i < size; ++i) r.a[i] = r.x[i] + r.n[i] / 2;
    });
    check(PluginCall()
              .input(r.a.data(), dims)
              .input(r.x.data(), dims)
              .input(weight_.data(), weight_dims)
              .output(r.m.data(), dims)
              .run(*r.join[layer], stream));
    on_stream(stream, [&r, size] {
      for (int64_t i = 0; i < size; ++i) r.x[i] = r.a[i] + r.m[i] / 4;
    });
  }
  const std::vector<int64_t> row_dims = {tokens, shape_.width};
  check(PluginCall().input(r.x.data(), row_dims).output(r.sum.data(), row_dims).run(*r.all_reduce, stream));
  on_stream(stream, [&r, size, row] {
    Matrix& result = r.results.emplace_back(r.x.begin(), r.x.begin() + size);
    result.insert(result.end(), r.sum.begin(), r.sum.begin() + row);
  });
}

}  // namespace kraken::plugins
