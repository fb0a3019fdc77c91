// x = a + MLP(Norm2(a + (S − x))), a = x + Attention(Norm1(x)), S = Σ x over all ways of all ranks; the first
// layer has no exchange (docs/architecture.md). Weights differ by way and layer; norms have weights and
// biases.
#include "checks.h"
#include "communicators.h"
#include "join_norm.h"
#include "norm.h"
#include "norm_reference.h"
#include "softmax.h"

namespace kraken::test {
namespace {

constexpr int kWays = 2;
constexpr int64_t kTokens = 24, kWidth = 96, kHeads = 4, kHeadWidth = kWidth / kHeads, kHidden = 2 * kWidth;
constexpr int64_t kCount = kWays * kTokens * kWidth;
constexpr DType kDType = DType::BFloat16;

using Values = std::vector<double>;

// Layers [first, end) of a model. Layer 0 has no exchange, so one layer by itself is layer 1.
struct Span {
  int first, end;
};

struct LayerWeights {
  Values qkv, projection, up, down;  // [W,d,3d], [W,d,d], [W,d,2d], [W,2d,d]
};

LayerWeights random_weights(int rank, int layer) {
  const auto seed = static_cast<uint32_t>(1000 + 100 * rank + 10 * layer);
  const auto matrix = [&](int64_t rows, int64_t columns, uint32_t which) {
    return random_values(kDType, kWays * rows * columns, seed + which,
                         1 / std::sqrt(static_cast<double>(rows)));
  };
  return {matrix(kWidth, 3 * kWidth, 0), matrix(kWidth, kWidth, 1), matrix(kWidth, kHidden, 2),
          matrix(kHidden, kWidth, 3)};
}

// --- float64
// --------------------------------------------------------------------------------------------------------

// [W,T,k] · [W,k,n]
Values product(const Values& x, const Values& weight, int64_t depth, int64_t columns) {
  Values out(static_cast<size_t>(kWays * kTokens * columns), 0.0);
  for (int64_t row = 0; row < kWays * kTokens; ++row) {
    for (int64_t k = 0; k < depth; ++k) {
      const double left = x[static_cast<size_t>(row * depth + k)];
      const double* right = &weight[static_cast<size_t>((row / kTokens * depth + k) * columns)];
      for (int64_t n = 0; n < columns; ++n) out[static_cast<size_t>(row * columns + n)] += left * right[n];
    }
  }
  return out;
}

Values attention(const Values& qkv) {
  Values out(static_cast<size_t>(kCount), 0.0);
  const auto at = [&](int64_t way, int64_t token, int64_t part, int64_t head, int64_t i) {
    return qkv[static_cast<size_t>(((way * kTokens + token) * 3 + part) * kWidth + head * kHeadWidth + i)];
  };
  for (int64_t way = 0; way < kWays; ++way) {
    for (int64_t head = 0; head < kHeads; ++head) {
      for (int64_t query = 0; query < kTokens; ++query) {
        Values weight(static_cast<size_t>(query + 1));
        double sum = 0;
        for (int64_t key = 0; key <= query; ++key) {
          double score = 0;
          for (int64_t i = 0; i < kHeadWidth; ++i)
            score += at(way, query, 0, head, i) * at(way, key, 1, head, i);
          sum += weight[static_cast<size_t>(key)] =
              std::exp(score / std::sqrt(static_cast<double>(kHeadWidth)));
        }
        double* row = &out[static_cast<size_t>((way * kTokens + query) * kWidth + head * kHeadWidth)];
        for (int64_t key = 0; key <= query; ++key) {
          for (int64_t i = 0; i < kHeadWidth; ++i) {
            row[i] += weight[static_cast<size_t>(key)] / sum * at(way, key, 2, head, i);
          }
        }
      }
    }
  }
  return out;
}

void gelu(Values& values) {
  constexpr double kSqrt2OverPi = 0.7978845608028654;
  for (double& x : values) x = 0.5 * x * (1 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x)));
}

void add(Values& to, const Values& what) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += what[i];
}

std::vector<Values> reference(const NormCase& norm, std::vector<Values> streams, const Span& layers) {
  for (int layer = layers.first; layer < layers.end; ++layer) {
    Values sum(static_cast<size_t>(kTokens * kWidth), 0.0);
    for (const Values& x : streams) add(sum, norm.summed(x));
    for (size_t rank = 0; rank < streams.size(); ++rank) {
      const LayerWeights weights = random_weights(static_cast<int>(rank), layer);
      Values& x = streams[rank];
      Values a = product(attention(product(norm.normalised(x), weights.qkv, kWidth, 3 * kWidth)),
                         weights.projection, kWidth, kWidth);
      add(a, x);
      Values hidden =
          product(norm.normalised(layer == 0 ? a : norm.joined(a, x, sum)), weights.up, kWidth, kHidden);
      gelu(hidden);
      x = product(hidden, weights.down, kHidden, kWidth);
      add(x, a);
    }
  }
  return streams;
}

// --- GPU
// ------------------------------------------------------------------------------------------------------------

// One rank's tensors and what it does with them.
class Rank {
 public:
  Rank(const MatMul& matmul, int rank, const Values& start, const Span& layers)
      : matmul_(matmul), layers_(layers) {
    for (int layer = layers.first; layer < layers.end; ++layer) {
      const LayerWeights values = random_weights(rank, layer);
      for (const Values* one : {&values.qkv, &values.projection, &values.up, &values.down}) {
        weights_.emplace_back(kDType, static_cast<int64_t>(one->size()));
        weights_.back().upload(*one);
      }
    }
    // cuBLASLt loads kernels as they are first used, which may wait for the device: not while peers wait
    // there.
    run_layer(layers.first, nullptr, nullptr);
    KRAKEN_CUDA(cudaStreamSynchronize(nullptr));
    x_.upload(start);
  }

  void run(plugins::DeviceCommunicator& communicator, cudaStream_t stream) {
    for (int layer = layers_.first; layer < layers_.end; ++layer) run_layer(layer, &communicator, stream);
    // What stands for a model's conjunction: blocking, of all of x.
    communicator.all_reduce(kDType, kCount, x_.data(), sum_.data(), stream);
  }

  Values stream() const { return x_.download(); }
  Values sum() const { return sum_.download(); }

 private:
  // `communicator` null: nothing is exchanged.
  void run_layer(int layer, plugins::DeviceCommunicator* communicator, cudaStream_t stream) {
    const auto weight = [&](int which) {
      return weights_[static_cast<size_t>(4 * (layer - layers_.first) + which)].data();
    };
    plugins::Exchange exchange;
    exchange.index = layer;
    exchange.dtype = kDType;
    exchange.count = kTokens * kWidth;
    exchange.joined_by_norm = true;
    const bool exchanges = communicator != nullptr && layer > 0;

    const plugins::SendTarget target = exchanges ? communicator->prepare(exchange) : plugins::SendTarget{};
    KRAKEN_CUDA(kernels::start_norm(norm_.spec, x_.data(), x_.data(), n_.data(), target.sum, stream,
                                    target.announce));
    if (exchanges) communicator->start(exchange, stream);
    linear(n_, weight(0), qkv_, kWidth, 3 * kWidth, false, stream);
    attend(stream);
    linear(heads_, weight(1), a_, kWidth, kWidth, false, stream);
    KRAKEN_CUDA(kernels::join_add(kDType, kCount, x_.data(), a_.data(), a_.data(), stream));
    const plugins::JoinSource source =
        exchanges ? communicator->join(exchange, stream) : plugins::JoinSource{};
    KRAKEN_CUDA(
        source.peers != nullptr
            ? kernels::join_norm_peers(norm_.spec, a_.data(), x_.data(), *source.peers, n_.data(), stream)
            : kernels::join_norm(norm_.spec, a_.data(), x_.data(), source.sum, n_.data(), stream));
    linear(n_, weight(2), hidden_, kWidth, kHidden, true, stream);
    linear(hidden_, weight(3), x_, kHidden, kWidth, false, stream);
    KRAKEN_CUDA(kernels::join_add(kDType, kCount, a_.data(), x_.data(), x_.data(), stream));
  }

  void linear(const Array& in, const void* weight, const Array& out, int64_t depth, int64_t columns,
              bool has_gelu, cudaStream_t stream) const {
    MatMul::Shape shape{kDType,          kTokens, columns,          depth,
                        kWays,           depth,   kTokens * depth,  columns,
                        depth * columns, columns, kTokens * columns};
    shape.has_gelu = has_gelu;
    matmul_.run(shape, in.data(), weight, out.data(), stream);
  }

  void attend(cudaStream_t stream) const {
    const int64_t element = kernels::size_of(kDType);
    const auto bytes = [&](const Array& array, int64_t at) {
      return static_cast<char*>(array.data()) + at * element;
    };
    for (int64_t way = 0; way < kWays; ++way) {
      const int64_t first = way * kTokens * 3 * kWidth;
      MatMul::Shape scores{kDType,     kTokens,    kTokens,    kHeadWidth, kHeads,           3 * kWidth,
                           kHeadWidth, 3 * kWidth, kHeadWidth, kTokens,    kTokens * kTokens};
      scores.transposes_b = true;
      scores.scale = 1.0f / std::sqrt(static_cast<float>(kHeadWidth));
      matmul_.run(scores, bytes(qkv_, first), bytes(qkv_, first + kWidth), scores_.data(), stream);
      causal_softmax(kDType, kHeads, kTokens, scores_.data(), stream);
      const MatMul::Shape values{kDType,     kTokens, kHeadWidth,        kTokens,
                                 kHeads,     kTokens, kTokens * kTokens, 3 * kWidth,
                                 kHeadWidth, kWidth,  kHeadWidth};
      matmul_.run(values, scores_.data(), bytes(qkv_, first + 2 * kWidth),
                  bytes(heads_, way * kTokens * kWidth), stream);
    }
  }

  const MatMul& matmul_;
  Span layers_;
  NormCase norm_{kernels::NormKind::Layer, kDType, kWays, kTokens, kWidth};
  Array x_{kDType, kCount}, sum_{kDType, kCount}, n_{kDType, kCount}, a_{kDType, kCount},
      heads_{kDType, kCount};
  Array qkv_{kDType, 3 * kCount}, hidden_{kDType, 2 * kCount}, scores_{kDType, kHeads*kTokens*kTokens};
  std::vector<Array> weights_;
};

double relative_error(const Values& got, const Values& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(error / norm);
}

struct Expected {
  std::vector<Values> streams;
  Values sum;
};

Checks run(int ranks, const Span& layers, kernels::Algorithm algorithm, const MatMul& matmul,
           const std::vector<Values>& start, const Expected& expected, const std::string& name,
           std::string& reason) {
  CommunicatorOptions options;
  options.algorithms = table_of(algorithm, 2);
  options.may_use_nccl = algorithm == kernels::Algorithm::Nccl;
  options.capacity = kTokens * kWidth * kernels::size_of(kDType);
  CommunicatorGroup group(ranks, options);
  reason = obstacle(algorithm, group.transport());
  if (!reason.empty()) return {};

  std::vector<std::unique_ptr<Rank>> state(static_cast<size_t>(ranks));
  group.run([&](int rank) {
    const auto at = static_cast<size_t>(rank);
    state[at] = std::make_unique<Rank>(matmul, rank, start[at], layers);
  });
  group.run(
      [&](int rank) { state[static_cast<size_t>(rank)]->run(group.communicator(rank), group.stream(rank)); });

  Checks checks;
  constexpr double kTolerance = 2e-2;  // bfloat16 (docs/architecture.md, Numerics)
  for (int rank = 0; rank < ranks; ++rank) {
    const auto at = static_cast<size_t>(rank);
    const std::string of = name + " rank " + std::to_string(rank);
    checks.push_back({of, relative_error(state[at]->stream(), expected.streams[at]), kTolerance});
    checks.push_back({of + " sum", relative_error(state[at]->sum(), expected.sum), kTolerance});
  }
  checks.push_back(expect_true(name + " loses nobody: " + group.failure(), group.failure().empty()));
  return checks;
}

}  // namespace

void check_layers(Report& report, int ranks, int layers, const MatMul& matmul) {
  std::vector<Values> start;
  for (int rank = 0; rank < ranks; ++rank) {
    start.push_back(random_values(kDType, kCount, static_cast<uint32_t>(7 + rank), 0.5));
  }
  const NormCase norm(kernels::NormKind::Layer, kDType, kWays, kTokens, kWidth);
  const Span span = layers == 1 ? Span{1, 2} : Span{0, layers};
  Expected expected{reference(norm, start, span), Values(static_cast<size_t>(kCount), 0.0)};
  for (const Values& x : expected.streams) add(expected.sum, x);
  for (const kernels::Algorithm algorithm : kAlgorithms) {
    const std::string name = std::to_string(layers) + (layers == 1 ? " layer, " : " layers, ") +
                             std::to_string(ranks) + " ranks, " + kernels::name_of(algorithm);
    std::string reason;
    const Checks checks = run(ranks, span, algorithm, matmul, start, expected, name, reason);
    if (reason.empty()) {
      report.add(name, checks);
    } else {
      report.add_skipped(name, reason);
    }
  }
}

}  // namespace kraken::test
