#include "join_norm.h"
#include "measure.h"
#include "norm.h"
#include "norm_reference.h"

namespace kraken::test {

void measure_bandwidth(Report& report, const Scale& scale) {
  KRAKEN_CUDA(cudaSetDevice(0));
  for (const int32_t width : {static_cast<int32_t>(scale.width), 678}) {
    const NormCase one(kernels::NormKind::Layer, DType::BFloat16, 1, 8 * scale.tokens, width);
    const Array x(one.spec.dtype, one.count()), a(one.spec.dtype, one.count()),
        sum(one.spec.dtype, one.count()), out(one.spec.dtype, one.count());
    const double bytes = static_cast<double>(one.count()) * 2;
    double ceiling = 0;
    // `passes`: how many times the tensor is read or written.
    const auto measure = [&](const char* what, int passes, const std::function<void()>& call) {
      const double rate = passes * bytes / best_time(call, nullptr, scale.turns) / 1e3;
      report.add_figure(std::string(what) + " bf16 d=" + std::to_string(width), rate, "GB/s");
      if (ceiling > 0) report.add_figure("  of the copy's", 100 * rate / ceiling, "%");
      return rate;
    };
    ceiling = measure("copy", 2, [&] {
      KRAKEN_CUDA(
          cudaMemcpyAsync(out.data(), x.data(), static_cast<size_t>(bytes), cudaMemcpyDefault, nullptr));
    });
    measure("norm", 2, [&] { KRAKEN_CUDA(kernels::norm(one.spec, x.data(), out.data(), nullptr)); });
    measure("start_norm", 3, [&] {
      KRAKEN_CUDA(kernels::start_norm(one.spec, x.data(), x.data(), out.data(), sum.data(), nullptr));
    });
    measure("join_norm", 4, [&] {
      KRAKEN_CUDA(kernels::join_norm(one.spec, a.data(), x.data(), sum.data(), out.data(), nullptr));
    });
  }
}

}  // namespace kraken::test
