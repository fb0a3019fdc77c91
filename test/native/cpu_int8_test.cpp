// int8 products against integer arithmetic, to the bit: sums are exact, and the float32 operations on them
// are few and in a fixed order.
#include <omp.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/gemm.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/quantised_rows.h"
#include "cpu_numerics.h"

namespace kraken::cpu {
namespace {

using test::random_floats;
using test::random_values;
using test::Values;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Shape {
  int64_t n, k;
};

const Shape kShapes[] = {{1, 1},      {1, 38},     {19, 38},   {33, 2},    {7, 5},
                         {48, 48},    {64, 64},    {113, 38},  {114, 678}, {678, 113},
                         {130, 1023}, {209, 1041}, {65, 5000}, {24, 70001}};
constexpr int64_t kMostRows = 130;

std::vector<uint8_t> quantised(const Values& x, int64_t rows, int64_t width) {
  std::vector<uint8_t> out(static_cast<size_t>(rows * quantised_row_bytes(width)), 0x5a);
  quantise_rows(x.data(), x.dtype(), out.data(), rows, width);
  return out;
}

std::vector<uint8_t> quantised(const std::vector<float>& x, int64_t rows, int64_t width) {
  Values values(DType::Float32, x.size());
  std::memcpy(values.data(), x.data(), x.size() * sizeof(float));
  return quantised(values, rows, width);
}

std::vector<int8_t> random_int8(size_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int> uniform(-127, 127);
  std::vector<int8_t> values(count);
  for (int8_t& value : values) value = static_cast<int8_t>(uniform(generator));
  return values;
}

struct Problem {
  int64_t n, k;
  std::vector<int8_t> weight;
  std::vector<float> scales, bias;
  std::vector<uint8_t> x;

  PackedLinear linear(DType output, bool with_bias) const {
    return {weight.data(), DType::Int8,  with_bias ? bias.data() : nullptr, n, k, DType::Int8, output,
            kMostRows,     scales.data()};
  }

  float expected(int64_t row, int64_t column, bool with_bias) const {
    const uint8_t* values = x.data() + row * quantised_row_bytes(k);
    int32_t sum = 0;
    for (int64_t i = 0; i < k; ++i)
      sum += (int{values[i]} - kQuantisedZero) * int{weight[static_cast<size_t>(column * k + i)]};
    const auto c = static_cast<size_t>(column);
    const float scale = quantised_row_scale(values, k) * scales[c];
    const float y = static_cast<float>(sum) * scale;
    return with_bias ? y + bias[c] : y;
  }
};

Problem random_problem(int64_t n, int64_t k) {
  return {n,
          k,
          random_int8(static_cast<size_t>(n * k), 1),
          random_floats(static_cast<size_t>(n), 2),
          random_floats(static_cast<size_t>(n), 3),
          quantised(random_values(DType::Float32, static_cast<size_t>(kMostRows * k), 4), kMostRows, k)};
}

// All factors of the largest magnitude: the sums are as large as they get.
Problem extreme_problem(int64_t n, int64_t k) {
  Problem problem = random_problem(n, k);
  problem.weight.assign(problem.weight.size(), 127);
  problem.x = quantised(std::vector<float>(static_cast<size_t>(kMostRows * k), -3.0f), kMostRows, k);
  return problem;
}

void expect_exact(const Problem& problem, bool with_bias) {
  const auto [n, k] = Shape{problem.n, problem.k};
  std::vector<float> want;
  for (int64_t r = 0; r < kMostRows; ++r)
    for (int64_t c = 0; c < n; ++c) want.push_back(problem.expected(r, c, with_bias));
  for (const DType output : {DType::Float32, DType::BFloat16}) {
    if (output == DType::BFloat16 && compute_dtype(DType::Int8) != output) continue;
    PackedLinear linear = problem.linear(output, with_bias);
    for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 13, 32, 130}) {
      Values y(output, static_cast<size_t>(rows * n) + 1);
      y.set(y.size() - 1, 77.0f);  // must stay
      linear.run(problem.x.data(), y.data(), rows);
      for (size_t i = 0; i + 1 < y.size(); ++i) {
        const float expected =
            output == DType::Float32 ? want[i] : bfloat16_to_float(float_to_bfloat16(want[i]));
        ASSERT_EQ(static_cast<float>(y[i]), expected)
            << linear.implementation() << " n=" << n << " k=" << k << " M=" << rows << " at " << i;
      }
      ASSERT_EQ(y[y.size() - 1], 77.0);
    }
  }
}

TEST(CpuInt8, LinearsAreExactWhateverTheBatchAndTheThreads) {
  const int threads_before = omp_get_max_threads();
  for (const int threads : {1, 3}) {
    omp_set_num_threads(threads);
    for (const auto [n, k] : kShapes) {
      expect_exact(random_problem(n, k), k % 2 == 0);
      if (k > 1000) expect_exact(extreme_problem(n, k), false);
    }
  }
  omp_set_num_threads(threads_before);
}

TEST(CpuInt8, RowsBecomeWholeNumbersOfTheirLargestMagnitude) {
  for (const DType dtype : {DType::Float32, DType::BFloat16}) {
    for (const int64_t width : {1, 2, 7, 15, 16, 17, 31, 32, 33, 38, 113, 678}) {
      const int64_t rows = 5;
      const Values x = random_values(dtype, static_cast<size_t>(rows * width), 1, 3.0f);
      const std::vector<uint8_t> out = quantised(x, rows, width);
      for (int64_t r = 0; r < rows; ++r) {
        float largest = 0;
        const auto value = [&](int64_t i) {
          return static_cast<float>(x[static_cast<size_t>(r * width + i)]);
        };
        for (int64_t i = 0; i < width; ++i) largest = std::max(largest, std::abs(value(i)));
        const uint8_t* row = out.data() + r * quantised_row_bytes(width);
        ASSERT_EQ(quantised_row_scale(row, width), largest / 127.0f);
        for (int64_t i = 0; i < width; ++i) {
          const double exact = static_cast<double>(value(i)) * 127 / static_cast<double>(largest);
          ASSERT_NEAR(int{row[i]} - kQuantisedZero, exact, 0.5 + 1e-4) << "width " << width << " at " << i;
        }
      }
    }
  }
}

TEST(CpuInt8, RowsWithoutAScaleAreZeroOrPoisoned) {
  const int64_t width = 19;
  const auto with = [&](float value) {
    std::vector<float> row(static_cast<size_t>(width), 0.0f);
    row[17] = value;
    return quantised(row, 1, width);
  };
  for (const float tiny : {0.0f, -0.0f, 1e-40f, std::numeric_limits<float>::min()}) {
    const std::vector<uint8_t> row = with(tiny);
    EXPECT_EQ(quantised_row_scale(row.data(), width), 0.0f);
    for (int64_t i = 0; i < width; ++i) EXPECT_EQ(int{row[static_cast<size_t>(i)]}, kQuantisedZero);
  }
  EXPECT_EQ(with(1e-30f)[17], kQuantisedZero + 127);
  for (const float bad : {kInfinity, -kInfinity, kNaN, -kNaN}) {
    std::vector<float> row(static_cast<size_t>(width), 1.0f);
    row[3] = bad;
    EXPECT_FALSE(std::isfinite(quantised_row_scale(quantised(row, 1, width).data(), width)));

    Problem problem = random_problem(5, width);
    problem.x = quantised(row, 1, width);
    std::vector<float> y(5);
    problem.linear(DType::Float32, true).run(problem.x.data(), y.data(), 1);
    for (const float value : y) EXPECT_FALSE(std::isfinite(value));
  }
}

TEST(CpuInt8, NormsQuantiseWhatTheyNormalise) {
  for (const int64_t width : {2, 17, 48, 113, 678}) {
    const int64_t rows = 7;
    const auto count = static_cast<size_t>(rows * width);
    const auto base = random_floats(count, 1), addend = random_floats(count, 2),
               weight = random_floats(static_cast<size_t>(width), 3);
    const float* addends[] = {addend.data()};
    for (const bool plain : {true, false}) {
      std::vector<float> normal(count), sum(count), sum_of_int8(count);
      NormPass pass;
      pass.rows = rows;
      pass.width = width;
      pass.base = base.data();
      if (!plain) pass.addends = {addends, {}};
      pass.weight = weight.data();
      pass.out = normal.data();
      pass.sum = plain ? nullptr : sum.data();
      norm_pass(pass);
      const std::vector<uint8_t> want = quantised(normal, rows, width);

      std::vector<uint8_t> got(want.size(), 0x5a);
      pass.out = got.data();
      pass.sum = plain ? nullptr : sum_of_int8.data();
      pass.dtype = DType::Int8;
      norm_pass(pass);
      EXPECT_EQ(got, want) << width;
      EXPECT_EQ(sum_of_int8, sum);

      pass.out = nullptr;
      norm_pass(pass);  // only the sum
      EXPECT_EQ(sum_of_int8, sum);
    }
  }
}

}  // namespace
}  // namespace kraken::cpu
