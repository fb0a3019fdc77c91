// The smallest work that has two exchanges under way at once, and a blocking sum at its end, as a step has:
//
//   n = Norm(x), S = Σ x starts      k = Norm(n), Z = Σ n starts      a = x + k, meanwhile
//   m = Norm(a + (S − x))            y = Norm(m + (Z − n))            total = Σ y
//
// Needs no matrix products, so it runs wherever our kernels do.
#pragma once

#include <vector>

#include "communicator/communicator.h"
#include "join_norm.h"
#include "norm_reference.h"

namespace kraken::test {

struct TwoExchangesResult {
  std::vector<double> y, total;
};

// One rank's tensors. Made on its device.
class TwoExchanges {
 public:
  static constexpr DType kDType = DType::Float32;
  static constexpr int64_t kWays = 2, kTokens = 5, kWidth = 100, kCount = kWays * kTokens * kWidth;

  void enqueue(plugins::DeviceCommunicator& communicator, cudaStream_t stream) {
    const plugins::Exchange first = exchange(0), second = exchange(1);
    start(communicator, first, x_, n_, stream);
    start(communicator, second, n_, k_, stream);
    KRAKEN_CUDA(kernels::join_add(kDType, kCount, x_.data(), k_.data(), a_.data(), stream));
    join(communicator, first, a_, x_, m_, stream);
    join(communicator, second, m_, n_, y_, stream);
    communicator.all_reduce(kDType, kCount, y_.data(), total_.data(), stream);
  }

  void* input() const { return x_.data(); }
  const Array& y() const { return y_; }
  const Array& total() const { return total_; }

  static std::vector<double> input_of(int rank, int turn) {
    return random_values(kDType, kCount, static_cast<uint32_t>(1000 * turn + rank));
  }

  // What every rank must get in this turn.
  std::vector<TwoExchangesResult> expected(int ranks, int turn) const {
    std::vector<std::vector<double>> x, n;
    for (int rank = 0; rank < ranks; ++rank) {
      x.push_back(input_of(rank, turn));
      n.push_back(norm_.normalised(x.back()));
    }
    const std::vector<double> sum_x = sum_of_ways(x), sum_n = sum_of_ways(n);
    std::vector<TwoExchangesResult> results;
    std::vector<double> total(static_cast<size_t>(kCount), 0.0);
    for (int rank = 0; rank < ranks; ++rank) {
      const auto at = static_cast<size_t>(rank);
      std::vector<double> a = norm_.normalised(n[at]);
      for (size_t i = 0; i < a.size(); ++i) a[i] += x[at][i];
      const std::vector<double> m = norm_.normalised(norm_.joined(a, x[at], sum_x));
      results.push_back({norm_.normalised(norm_.joined(m, n[at], sum_n)), {}});
      for (size_t i = 0; i < total.size(); ++i) total[i] += results.back().y[i];
    }
    for (TwoExchangesResult& result : results) result.total = total;
    return results;
  }

 private:
  static plugins::Exchange exchange(int32_t index) {
    plugins::Exchange one;
    one.index = index;
    one.dtype = kDType;
    one.count = kTokens * kWidth;
    one.joined_by_norm = true;
    return one;
  }

  std::vector<double> sum_of_ways(const std::vector<std::vector<double>>& ranks) const {
    std::vector<double> sum(static_cast<size_t>(kTokens * kWidth), 0.0);
    for (const std::vector<double>& one : ranks) {
      const std::vector<double> part = norm_.summed(one);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
    }
    return sum;
  }

  void start(plugins::DeviceCommunicator& communicator, const plugins::Exchange& exchange, const Array& in,
             const Array& out, cudaStream_t stream) const {
    const plugins::SendTarget target = communicator.prepare(exchange);
    KRAKEN_CUDA(kernels::start_norm(norm_.spec, in.data(), in.data(), out.data(), target.sum, stream,
                                    target.announce));
    communicator.start(exchange, stream);
  }

  void join(plugins::DeviceCommunicator& communicator, const plugins::Exchange& exchange, const Array& a,
            const Array& x, const Array& out, cudaStream_t stream) const {
    const plugins::JoinSource source = communicator.join(exchange, stream);
    KRAKEN_CUDA(
        source.peers != nullptr
            ? kernels::join_norm_peers(norm_.spec, a.data(), x.data(), *source.peers, out.data(), stream)
            : kernels::join_norm(norm_.spec, a.data(), x.data(), source.sum, out.data(), stream));
  }

  NormCase norm_{kernels::NormKind::Layer, kDType, kWays, kTokens, kWidth};
  Array x_{kDType, kCount}, n_{kDType, kCount}, k_{kDType, kCount}, a_{kDType, kCount}, m_{kDType, kCount},
      y_{kDType, kCount}, total_{kDType, kCount};
};

}  // namespace kraken::test
