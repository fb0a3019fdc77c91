#include "cases.h"
#include "join_norm.h"
#include "norm.h"
#include "norm_reference.h"

namespace kraken::test {
namespace {

using kernels::NormKind;
using kernels::NormSpec;

struct Size {
  int32_t ways;
  int64_t tokens;
  int32_t width;
};

// Every number of vectors a thread can hold, rows that are aligned, that are not, and that are not even a
// vector.
constexpr Size kSizes[] = {{1, 3, 1},    {2, 3, 7},    {1, 2, 113},  {3, 2, 209},
                           {2, 3, 678},  {1, 2, 768},  {2, 1, 504},  {1, 1, 2047},
                           {1, 2, 2048}, {1, 1, 4096}, {2, 1, 5001}, {1, 1, 16384}};

void check_norm(Checks& checks, const NormCase& one, int64_t offset) {
  std::vector<double> x, send;
  const Array input = random_array(one.spec.dtype, one.count(), 1, x, 2, 1.5, offset);
  const Array other = random_array(one.spec.dtype, one.count(), 2, send, 3, 0, offset);
  Array out(one.spec.dtype, one.count(), offset);
  const int64_t row_count = one.spec.tokens * one.spec.width;
  Array sum(one.spec.dtype, row_count);
  const std::string name = one.name() + (offset != 0 ? " unaligned" : "");
  const double tolerance = rounding(one.spec.dtype);
  const std::vector<double> want = one.normalised(x);

  KRAKEN_CUDA(kernels::norm(one.spec, input.data(), out.data(), nullptr));
  checks.push_back(expect_close("norm " + name, out.download(), want, tolerance));

  out.fill_with_nan();
  KRAKEN_CUDA(kernels::start_norm(one.spec, input.data(), input.data(), out.data(), sum.data(), nullptr));
  checks.push_back(expect_close("start_norm " + name, out.download(), want, tolerance));
  checks.push_back(expect_close("start_norm's sum " + name, sum.download(), one.summed(x), tolerance));

  out.fill_with_nan();
  sum.fill_with_nan();
  KRAKEN_CUDA(kernels::start_norm(one.spec, other.data(), input.data(), out.data(), sum.data(), nullptr));
  checks.push_back(expect_close("start_norm of another " + name, out.download(), want, tolerance));
  checks.push_back(
      expect_close("start_norm's sum of another " + name, sum.download(), one.summed(send), tolerance));

  sum.fill_with_nan();
  KRAKEN_CUDA(kernels::send_sum_of_ways(one.spec, other.data(), sum.data(), nullptr));
  checks.push_back(expect_close("send_sum_of_ways " + name, sum.download(), one.summed(send), tolerance));
}

void check_join(Checks& checks, const NormCase& one, int64_t offset) {
  std::vector<double> a, x, s;
  Array own = random_array(one.spec.dtype, one.count(), 3, a, 1, 0.5, offset);
  const Array stream = random_array(one.spec.dtype, one.count(), 4, x, 1, 0, offset);
  const Array sum = random_array(one.spec.dtype, one.spec.tokens * one.spec.width, 5, s, 3);
  Array out(one.spec.dtype, one.count(), offset);
  const std::string name = one.name() + (offset != 0 ? " unaligned" : "");
  const double tolerance = rounding(one.spec.dtype);

  KRAKEN_CUDA(kernels::join_norm(one.spec, own.data(), stream.data(), sum.data(), out.data(), nullptr));
  const std::vector<double> want = one.normalised(one.joined(a, x, s));
  const std::vector<double> apart = out.download();
  checks.push_back(expect_close("join_norm " + name, apart, want, tolerance));

  KRAKEN_CUDA(kernels::join_norm(one.spec, own.data(), stream.data(), nullptr, out.data(), nullptr));
  checks.push_back(expect_close("join_norm unbound " + name, out.download(), one.normalised(a), tolerance));

  KRAKEN_CUDA(kernels::join_norm(one.spec, own.data(), stream.data(), sum.data(), own.data(), nullptr));
  checks.push_back(expect_same("join_norm in place " + name, own.download(), apart));
}

}  // namespace

Checks norm_checks() {
  Checks checks;
  for (const DType dtype : kDTypes) {
    for (const Size& size : kSizes) {
      const NormCase one(NormKind::Layer, dtype, size.ways, size.tokens, size.width);
      check_norm(checks, one, 0);
      check_join(checks, one, 0);
    }
    for (const NormKind kind : {NormKind::Layer, NormKind::Rms}) {
      const NormCase one(kind, dtype, 2, 3, 418, false);
      for (const int64_t offset : {0, 1, 3}) {
        check_norm(checks, one, offset);
        check_join(checks, one, offset);
      }
    }
  }
  return checks;
}

// A mean a thousand times the spread: what one pass over squares would lose.
Checks norm_accuracy_checks() {
  Checks checks;
  const NormCase one(NormKind::Layer, DType::Float32, 1, 2, 678, false);
  std::vector<double> x;
  const Array input = random_array(DType::Float32, one.count(), 7, x, 1, 1000);
  Array out(DType::Float32, one.count());
  KRAKEN_CUDA(kernels::norm(one.spec, input.data(), out.data(), nullptr));
  checks.push_back(expect_close("norm with a large mean", out.download(), one.normalised(x), 2e-4));
  return checks;
}

Checks join_add_checks() {
  Checks checks;
  for (const DType dtype : kDTypes) {
    for (const int64_t count : {1, 7, 113, 4096, 10001}) {
      for (const int64_t offset : {0, 1}) {
        std::vector<double> x, s;
        const Array input = random_array(dtype, count, 1, x, 1, 0, offset);
        const Array sum = random_array(dtype, count, 2, s);
        Array out(dtype, count);
        const std::string name =
            std::string(short_name(dtype)) + " " + std::to_string(count) + (offset != 0 ? " unaligned" : "");
        KRAKEN_CUDA(kernels::join_add(dtype, count, input.data(), sum.data(), out.data(), nullptr));
        std::vector<double> want(x.size());
        for (size_t i = 0; i < want.size(); ++i) want[i] = x[i] + s[i];
        checks.push_back(expect_close("join_add " + name, out.download(), want, rounding(dtype)));
        KRAKEN_CUDA(kernels::join_add(dtype, count, input.data(), nullptr, out.data(), nullptr));
        checks.push_back(expect_same("join_add unbound " + name, out.download(), x));
      }
    }
  }
  return checks;
}

Checks norm_argument_checks() {
  Checks checks;
  const NormCase good(NormKind::Layer, DType::Float16, 1, 1, 64);
  const Array x(DType::Float16, 64), sum(DType::Float16, 64);
  const auto refuses = [&](const char* what, const NormSpec& spec, const void* in, cudaError_t want) {
    checks.push_back(expect_error(what, kernels::norm(spec, in, x.data(), nullptr), want));
    checks.push_back(
        expect_error(what, kernels::join_norm(spec, in, x.data(), sum.data(), x.data(), nullptr), want));
  };
  const auto with = [&](auto change) {
    NormSpec spec = good.spec;
    change(spec);
    return spec;
  };
  refuses("accepts", good.spec, x.data(), cudaSuccess);
  refuses("no tokens", with([](NormSpec& spec) { spec.tokens = 0; }), nullptr, cudaSuccess);
  refuses("null input", good.spec, nullptr, cudaErrorInvalidValue);
  refuses("odd address", good.spec, static_cast<char*>(x.data()) + 1, cudaErrorInvalidValue);
  refuses("no weight", with([](NormSpec& spec) { spec.weight = nullptr; }), x.data(), cudaErrorInvalidValue);
  refuses("width 0", with([](NormSpec& spec) { spec.width = 0; }), x.data(), cudaErrorInvalidValue);
  refuses("too wide", with([](NormSpec& spec) { spec.width = 16385; }), x.data(), cudaErrorInvalidValue);
  refuses("no ways", with([](NormSpec& spec) { spec.ways = 0; }), x.data(), cudaErrorInvalidValue);
  return checks;
}

}  // namespace kraken::test
