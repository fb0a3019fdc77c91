#include <omp.h>

#include <cstring>
#include <functional>

#include "backend/cpu/kernels.h"
#include "cpu_numerics.h"

namespace kraken::cpu {
namespace {

using test::expect_close;
using test::random_floats;
using test::random_values;
using test::short_name;
using test::Values;

constexpr DType kDTypes[] = {DType::Float32, DType::BFloat16};
constexpr int64_t kWidths[] = {1, 2, 7, 15, 16, 17, 19, 31, 32, 38, 48, 113, 678, 1041};

double tolerance(DType dtype) {
  return dtype == DType::Float32 ? 4e-7 : 4e-3;
}

// Matrices that are added up; the last may come in bfloat16.
struct Terms {
  Terms(size_t count, int matrices, uint32_t seed, bool round_last) : sum(count) {
    for (int i = 0; i < matrices; ++i) {
      std::vector<float>& values =
          values_.emplace_back(random_floats(count, seed + static_cast<uint32_t>(i)));
      if (round_last && i + 1 == matrices) {
        for (float& value : values) {
          rounded_.push_back(float_to_bfloat16(value));
          value = bfloat16_to_float(rounded_.back());
        }
        bfloat16_.push_back(rounded_.data());
      } else {
        float32_.push_back(values.data());
      }
      for (size_t at = 0; at < count; ++at) sum[at] += static_cast<double>(values[at]);
    }
  }
  Addends addends() const { return {float32_, bfloat16_}; }
  const float* matrix(size_t i) const { return float32_[i]; }
  std::vector<double> sum;

 private:
  std::vector<std::vector<float>> values_;
  std::vector<uint16_t> rounded_;
  std::vector<const float*> float32_;
  std::vector<const uint16_t*> bfloat16_;
};

void check_norm_pass(DType dtype, NormKind kind, int64_t width, int addends, int joined, bool received) {
  const bool with_bias = addends == 1;
  const int64_t rows = 5;
  const auto count = static_cast<size_t>(rows * width);
  const auto base = random_floats(count, 1, 1.0f, 0.5f),
             weight = random_floats(static_cast<size_t>(width), 2),
             bias = random_floats(static_cast<size_t>(width), 3), self = random_floats(count, 40);
  const Terms added(count, addends, 10, received), join(count, joined, 20, received);
  std::vector<float> sum(count);
  Values out(dtype, count);
  NormPass pass;
  pass.rows = rows;
  pass.width = width;
  pass.base = addends == 3 ? nullptr : base.data();
  pass.addends = added.addends();
  pass.sum = addends > 0 ? sum.data() : nullptr;
  pass.join = join.addends();
  // One part: the whole sum, received from elsewhere; several: join_self is one of them.
  pass.join_self = joined == 0   ? nullptr
                   : joined == 1 ? self.data()
                                 : join.matrix(static_cast<size_t>(joined) - 2);
  pass.kind = kind;
  pass.weight = weight.data();
  pass.bias = with_bias ? bias.data() : nullptr;
  pass.out = out.data();
  pass.dtype = dtype;
  norm_pass(pass);

  std::vector<double> want(count), want_sum(count);
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> u(static_cast<size_t>(width));
    double mean = 0, square = 0;
    for (int64_t c = 0; c < width; ++c) {
      const auto i = static_cast<size_t>(r * width + c);
      want_sum[i] = (pass.base != nullptr ? static_cast<double>(base[i]) : 0.0) + added.sum[i];
      const double left_out = pass.join_self != nullptr ? static_cast<double>(pass.join_self[i]) : 0.0;
      const double v = want_sum[i] + join.sum[i] - left_out;
      u[static_cast<size_t>(c)] = v;
      mean += v / static_cast<double>(width);
    }
    if (kind == NormKind::Rms) mean = 0;
    for (const double v : u) square += (v - mean) * (v - mean) / static_cast<double>(width);
    for (int64_t c = 0; c < width; ++c) {
      const auto i = static_cast<size_t>(c);
      want[static_cast<size_t>(r * width + c)] =
          (u[i] - mean) / std::sqrt(square + static_cast<double>(pass.eps)) * static_cast<double>(weight[i]) +
          (with_bias ? static_cast<double>(bias[i]) : 0.0);
    }
  }
  const std::string what = std::string(short_name(dtype)) + (kind == NormKind::Layer ? " layer" : " rms") +
                           " width=" + std::to_string(width) + " addends=" + std::to_string(addends) +
                           " joined=" + std::to_string(joined) + (received ? " received" : "");
  // Two nearly equal numbers have a badly conditioned LayerNorm.
  const double slack = width < 7 ? 50 : 1;
  expect_close(what, out, want, slack * tolerance(dtype), slack * 10 * tolerance(dtype));
  if (pass.sum != nullptr) expect_close(what + " sum", sum, want_sum, 1e-7, 2e-6);
}

TEST(CpuKernels, NormPass) {
  for (const DType dtype : kDTypes) {
    for (const NormKind kind : {NormKind::Layer, NormKind::Rms}) {
      for (const int64_t width : kWidths) {
        if (width == 1 && kind == NormKind::Layer) continue;  // 0/√eps: nothing but rounding
        for (const int addends : {0, 1, 3}) {
          for (const int joined : {0, 1, 2, 4}) {
            for (const bool received : {false, true}) {
              check_norm_pass(dtype, kind, width, addends, joined, received);
            }
          }
        }
      }
    }
  }
}

TEST(CpuKernels, NormPassMayStoreTheSumOverAnInput) {
  const int64_t rows = 3, width = 113;
  const auto count = static_cast<size_t>(rows * width);
  const auto addend = random_floats(count, 2), weight = random_floats(static_cast<size_t>(width), 3);
  const auto base = random_floats(count, 1);
  for (const bool over_base : {true, false}) {
    auto a = base, b = addend;
    std::vector<float> out(count), want(count), sum(count);
    const float* addends[] = {b.data()};
    NormPass pass;
    pass.rows = rows;
    pass.width = width;
    pass.base = a.data();
    pass.addends = {addends, {}};
    pass.weight = weight.data();
    pass.sum = sum.data();
    pass.out = want.data();
    norm_pass(pass);
    pass.sum = over_base ? a.data() : b.data();
    pass.out = out.data();
    norm_pass(pass);
    EXPECT_EQ(out, want);
    EXPECT_EQ(over_base ? a : b, sum);
  }
}

TEST(CpuKernels, NormPassIsStableAndIndependentOfRowsAndThreads) {
  const int threads_before = omp_get_max_threads();
  const int64_t rows = 200, width = 678;
  const auto base = random_floats(static_cast<size_t>(rows * width), 1, 1.0f, 1000.0f);
  const std::vector<float> weight(static_cast<size_t>(width), 1.0f);
  NormPass pass;
  pass.rows = rows;
  pass.width = width;
  pass.base = base.data();
  pass.weight = weight.data();
  std::vector<float> one(base.size()), two(base.size()), alone(static_cast<size_t>(width));
  omp_set_num_threads(1);
  pass.out = one.data();
  norm_pass(pass);
  omp_set_num_threads(2);
  pass.out = two.data();
  norm_pass(pass);
  omp_set_num_threads(threads_before);
  EXPECT_EQ(0, std::memcmp(one.data(), two.data(), one.size() * sizeof(float)));
  pass.rows = 1;
  pass.base = base.data() + 77 * width;
  pass.out = alone.data();
  norm_pass(pass);
  EXPECT_EQ(0, std::memcmp(alone.data(), one.data() + 77 * width, alone.size() * sizeof(float)));
  std::vector<double> want(static_cast<size_t>(width));
  double mean = 0, square = 0;
  for (int64_t c = 0; c < width; ++c) mean += static_cast<double>(pass.base[c]) / static_cast<double>(width);
  for (int64_t c = 0; c < width; ++c)
    square += std::pow(static_cast<double>(pass.base[c]) - mean, 2) / static_cast<double>(width);
  for (int64_t c = 0; c < width; ++c)
    want[static_cast<size_t>(c)] = (static_cast<double>(pass.base[c]) - mean) / std::sqrt(square + 1e-5);
  expect_close("a mean a thousand times the spread", alone, want, 1e-3, 1e-3);
}

void check_elementwise(const std::string& what, DType dtype, const std::function<double(double)>& function,
                       const std::function<void(Values&)>& run) {
  for (const size_t count : {size_t{1}, size_t{17}, size_t{4099}}) {
    Values x = random_values(dtype, count, 5, 3.0f);
    if (count > 100) {
      for (size_t i = 0; i < 100; ++i) x.set(i, -12.0f + 0.24f * static_cast<float>(i));
      x.set(100, 0.0f), x.set(101, 1e4f), x.set(102, -1e4f), x.set(103, 1e30f), x.set(104, -1e30f),
          x.set(105, 1e-20f);
      x.set(103, 1e15f), x.set(104, -1e15f);
    }
    std::vector<double> want(count);
    for (size_t i = 0; i < count; ++i) want[i] = function(x[i]);
    run(x);
    // Relative to the whole would be judged by the largest alone: take those apart.
    Values small(dtype, count);
    for (size_t i = 0; i < count; ++i) {
      const bool large = std::abs(want[i]) > 100;
      if (large) {
        EXPECT_NEAR(x[i] / want[i], 1.0, tolerance(dtype)) << what;
        want[i] = 0;
      }
      small.set(i, large ? 0.0f : static_cast<float>(x[i]));
    }
    expect_close(what + " n=" + std::to_string(count), small, want, tolerance(dtype), 12 * tolerance(dtype));
  }
}

TEST(CpuKernels, Gelu) {
  for (const DType dtype : kDTypes) {
    check_elementwise(
        std::string(short_name(dtype)) + " gelu tanh", dtype,
        [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); },
        [&](Values& x) { gelu(Activation::GeluTanh, x.data(), 1, static_cast<int64_t>(x.size()), dtype); });
    check_elementwise(
        std::string(short_name(dtype)) + " gelu erf", dtype,
        [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); },
        [&](Values& x) { gelu(Activation::GeluErf, x.data(), 1, static_cast<int64_t>(x.size()), dtype); });
  }
}

TEST(CpuKernels, SwiGlu) {
  for (const DType dtype : kDTypes) {
    for (const int64_t n : kWidths) {
      const int64_t rows = 4;
      const Values x = random_values(dtype, static_cast<size_t>(2 * rows * n), 6, 3.0f);
      Values out(dtype, static_cast<size_t>(rows * n));
      swiglu(x.data(), out.data(), rows, n, dtype);
      std::vector<double> want(out.size());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < n; ++c) {
          const double gate = x[static_cast<size_t>(2 * r * n + c)],
                       up = x[static_cast<size_t>((2 * r + 1) * n + c)];
          want[static_cast<size_t>(r * n + c)] = gate / (1 + std::exp(-gate)) * up;
        }
      }
      expect_close(std::string(short_name(dtype)) + " swiglu n=" + std::to_string(n), out, want,
                   tolerance(dtype), 100 * tolerance(dtype));
    }
  }
}

TEST(CpuKernels, EmbedGatherConvert) {
  for (const DType stored : {DType::Float32, DType::Float16, DType::BFloat16}) {
    for (const int64_t width : kWidths) {
      Values table = random_values(stored, static_cast<size_t>(50 * width), 7);
      table.set(0, -0x1p-24f);  // float16's smallest subnormal and largest number
      if (width > 1) table.set(1, 65504.0f);
      const Values places = random_values(stored, static_cast<size_t>(9 * width), 8);
      const std::vector<int32_t> ids = {49, 0, 7, 7}, positions = {8, 0, 3, 4};
      std::vector<float> out(static_cast<size_t>(4 * width)), bare(out.size());
      embed(ids.data(), positions.data(), table.data(), places.data(), out.data(), 4, width, stored);
      embed(ids.data(), nullptr, table.data(), nullptr, bare.data(), 4, width, stored);
      for (int64_t r = 0; r < 4; ++r) {
        for (int64_t c = 0; c < width; ++c) {
          const auto i = static_cast<size_t>(r * width + c);
          const double token = table[static_cast<size_t>(ids[static_cast<size_t>(r)] * width + c)];
          ASSERT_EQ(static_cast<double>(bare[i]), token);
          ASSERT_EQ(out[i],
                    static_cast<float>(
                        token + places[static_cast<size_t>(positions[static_cast<size_t>(r)] * width + c)]));
        }
      }
      std::vector<float> gathered(static_cast<size_t>(2 * width));
      const int32_t index[] = {3, 1};
      gather_rows(out.data(), index, gathered.data(), 2, width * 4);
      ASSERT_EQ(0, std::memcmp(gathered.data(), out.data() + 3 * width, static_cast<size_t>(width) * 4));
      ASSERT_EQ(0, std::memcmp(gathered.data() + width, out.data() + width, static_cast<size_t>(width) * 4));
    }
  }
  for (const size_t n : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{1000}, size_t{100001}}) {
    auto from = random_floats(n, 9, 100.0f);
    if (n > 10) {
      from[0] = std::numeric_limits<float>::quiet_NaN();
      from[1] = std::numeric_limits<float>::infinity();
      from[2] = -0.0f;
      from[3] = 1.00390625f;  // half way between two bfloat16: goes to the even one
      from[4] = 1.01171875f;
      from[5] = std::bit_cast<float>(0x7fffffffu);  // a NaN whose payload would carry into the sign
    }
    std::vector<uint16_t> rounded(n);
    convert(from.data(), DType::Float32, rounded.data(), DType::BFloat16, static_cast<int64_t>(n));
    std::vector<float> back(n);
    convert(rounded.data(), DType::BFloat16, back.data(), DType::Float32, static_cast<int64_t>(n));
    for (size_t i = 0; i < n; ++i) {
      if (std::isnan(from[i])) {
        ASSERT_TRUE(std::isnan(back[i]));
      } else {
        ASSERT_EQ(rounded[i], float_to_bfloat16(from[i])) << i;
        ASSERT_EQ(back[i], bfloat16_to_float(rounded[i]));
      }
    }
  }
}

TEST(CpuKernels, Rotate) {
  for (const DType dtype : kDTypes) {
    for (const bool interleaved : {false, true}) {
      for (const auto& [head_dim, dims] : {std::pair{113, 112}, {19, 6}, {64, 64}, {38, 38}, {48, 2}}) {
        const int heads = 3, rows = 5, half = dims / 2;
        const int64_t width = (heads + 2) * head_dim;  // the last two are not rotated
        const Values x = random_values(dtype, static_cast<size_t>(rows * width), 10);
        std::vector<float> cosine(static_cast<size_t>(20 * half)), sine(cosine.size());
        for (int p = 0; p < 20; ++p) {
          for (int i = 0; i < half; ++i) {
            const double angle = p * std::pow(10000.0, -2.0 * i / dims);
            cosine[static_cast<size_t>(p * half + i)] = static_cast<float>(std::cos(angle));
            sine[static_cast<size_t>(p * half + i)] = static_cast<float>(std::sin(angle));
          }
        }
        const std::vector<int32_t> positions = {0, 19, 3, 4, 5};
        Values y = x;
        rotate(y.data(), positions.data(), cosine.data(), sine.data(), rows, width, heads, head_dim, dims,
               interleaved, dtype);
        std::vector<double> want(x.size());
        for (size_t i = 0; i < want.size(); ++i) want[i] = x[i];
        for (int r = 0; r < rows; ++r) {
          for (int h = 0; h < heads; ++h) {
            for (int i = 0; i < half; ++i) {
              const auto head = static_cast<size_t>(r * width + h * head_dim);
              const size_t a = head + static_cast<size_t>(interleaved ? 2 * i : i),
                           b = head + static_cast<size_t>(interleaved ? 2 * i + 1 : i + half);
              const auto at = static_cast<size_t>(positions[static_cast<size_t>(r)] * half + i);
              const double c = static_cast<double>(cosine[at]), s = static_cast<double>(sine[at]);
              want[a] = x[a] * c - x[b] * s;
              want[b] = x[b] * c + x[a] * s;
            }
          }
        }
        expect_close(std::string(short_name(dtype)) + (interleaved ? " interleaved " : " halves ") +
                         std::to_string(dims) + " of " + std::to_string(head_dim),
                     y, want, tolerance(dtype), 5 * tolerance(dtype));
      }
    }
  }
}

TEST(CpuKernels, ArgmaxAndLogSumExp) {
  for (const int64_t n : {1, 2, 15, 16, 17, 63, 1000, 50257}) {
    auto logits = random_floats(static_cast<size_t>(n), 11, 4.0f, -300.0f);
    double most = -1e300, total = 0;
    size_t best = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (static_cast<double>(logits[i]) > most) most = static_cast<double>(logits[best = i]);
    }
    for (const float v : logits) total += std::exp(static_cast<double>(v) - most);
    EXPECT_EQ(argmax(logits.data(), n), static_cast<int32_t>(best));
    const std::vector<float> got = {log_sum_exp(logits.data(), n)};
    expect_close("log Σ exp n=" + std::to_string(n), got, {most + std::log(total)}, 2e-7, 4e-5);
    logits.back() = logits[best];
    logits[best] = logits.back();
    EXPECT_EQ(argmax(logits.data(), n), static_cast<int32_t>(best)) << "the first among equals";
  }
  std::vector<float> lowest(37, -std::numeric_limits<float>::infinity());
  EXPECT_EQ(argmax(lowest.data(), 37), 0);
  lowest[30] = -5.0f;
  EXPECT_EQ(argmax(lowest.data(), 37), 30);
  EXPECT_EQ(log_sum_exp(lowest.data(), 37), -5.0f);
}

}  // namespace
}  // namespace kraken::cpu
