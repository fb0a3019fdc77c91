#include <omp.h>

#include <cstring>

#include "backend/cpu/gemm.h"
#include "backend/cpu/instruction_set.h"
#include "backend/cpu/linear_kernel.h"
#include "cpu_numerics.h"

namespace kraken::cpu {
namespace {

using test::expect_close;
using test::random_floats;
using test::random_values;
using test::short_name;
using test::Values;

struct Shape {
  int64_t n, k;
};

const Shape kShapes[] = {{1, 1},   {1, 38},   {19, 38},   {38, 19},   {33, 1},   {7, 5},     {48, 48},
                         {64, 64}, {113, 38}, {114, 678}, {678, 113}, {130, 65}, {209, 1041}};

std::vector<DType> compute_dtypes() {
  std::vector<DType> dtypes = {DType::Float32};
  if (compute_dtype(DType::BFloat16) == DType::BFloat16) dtypes.push_back(DType::BFloat16);
  return dtypes;
}

std::vector<double> reference(const Values& x, const Values& weight, const std::vector<float>& bias,
                              int64_t rows, int64_t n, int64_t k) {
  std::vector<double> y(static_cast<size_t>(rows * n));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < n; ++c) {
      double sum = bias.empty() ? 0.0 : static_cast<double>(bias[static_cast<size_t>(c)]);
      for (int64_t i = 0; i < k; ++i)
        sum += x[static_cast<size_t>(r * k + i)] * weight[static_cast<size_t>(c * k + i)];
      y[static_cast<size_t>(r * n + c)] = sum;
    }
  }
  return y;
}

// Our own kernel, and of bfloat16 oneDNN's where the machine has it: PackedLinear chooses one of them.
// (oneDNN 3's float32 sums depend on the number of rows.)
std::vector<std::unique_ptr<LinearKernel>> kernels(const LinearSpec& spec) {
  std::vector<std::unique_ptr<LinearKernel>> made;
  const bool bfloat16 = spec.compute == DType::BFloat16;
  made.push_back(make_panel_linear(bfloat16 ? avx512_bf16_panel_kernel() : float32_panel_kernel(), spec));
  if (bfloat16 && allowed_instruction_set() >= InstructionSet::Avx512) {
    if (auto onednn = make_onednn_linear(spec)) made.push_back(std::move(onednn));
  }
  return made;
}

TEST(CpuGemm, MatchesFloat64) {
  for (const DType compute : compute_dtypes()) {
    for (const DType output : {DType::Float32, DType::BFloat16}) {
      if (output == DType::BFloat16 && compute == DType::Float32) continue;
      for (const auto [n, k] : kShapes) {
        const Values weight = random_values(compute, static_cast<size_t>(n * k), 1);
        const Values x = random_values(compute, static_cast<size_t>(130 * k), 2);
        for (const bool with_bias : {false, true}) {
          const std::vector<float> bias =
              with_bias ? random_floats(static_cast<size_t>(n), 3) : std::vector<float>();
          const std::vector<double> want = reference(x, weight, bias, 130, n, k);
          const LinearSpec spec{weight.data(), compute, with_bias ? bias.data() : nullptr, n, k, compute,
                                output,        130};
          for (const auto& linear : kernels(spec)) {
            EXPECT_GE(linear->packed().size(), static_cast<size_t>(n * k) * size_of(compute));
            for (const int64_t rows : {1, 2, 3, 9, 130}) {
              Values y(output, static_cast<size_t>(rows * n));
              linear->run(x.data(), y.data(), rows);
              const double size = std::sqrt(static_cast<double>(k)) + 1;
              const std::string what = std::string(short_name(compute)) + "→" + short_name(output) +
                                       " n=" + std::to_string(n) + " k=" + std::to_string(k) +
                                       " M=" + std::to_string(rows) + (with_bias ? " bias " : " ") +
                                       linear->implementation();
              const double relative = output == DType::BFloat16 ? 4e-3 : 1e-6;
              expect_close(what, y, {want.begin(), want.begin() + rows * n}, relative, relative * 10 * size);
            }
          }
        }
      }
    }
  }
}

// A request's result must not depend on what else is in the batch: same bits for a row, whatever M and the
// threads.
TEST(CpuGemm, RowsDoNotDependOnBatchOrThreads) {
  constexpr int64_t kMostRows = 200;
  std::vector<int64_t> row_counts = {16, 31, 47, 48, 49, 64, 65, 128, 130};
  for (int64_t rows = 1; rows <= 14; ++rows) row_counts.push_back(rows);
  const int threads_before = omp_get_max_threads();
  const Shape more[] = {{678, 678}, {113, 2712}, {17, 10000}};
  std::vector<Shape> shapes(std::begin(kShapes), std::end(kShapes));
  shapes.insert(shapes.end(), std::begin(more), std::end(more));
  for (const DType dtype : compute_dtypes()) {
    for (const auto [n, k] : shapes) {
      const Values weight = random_values(dtype, static_cast<size_t>(n * k), 1);
      const Values x = random_values(dtype, static_cast<size_t>(kMostRows * k), 2);
      const std::vector<float> bias = random_floats(static_cast<size_t>(n), 3);
      const size_t in_row = static_cast<size_t>(k) * size_of(dtype),
                   out_row = static_cast<size_t>(n) * size_of(dtype);
      for (const auto& linear : kernels({weight.data(), dtype, bias.data(), n, k, dtype, dtype, kMostRows})) {
        omp_set_num_threads(1);
        Values whole(dtype, static_cast<size_t>(kMostRows * n));
        linear->run(x.data(), whole.data(), kMostRows);
        for (const int threads : {1, 2, 3}) {
          omp_set_num_threads(threads);
          for (const int64_t rows : row_counts) {
            const auto first = static_cast<size_t>((kMostRows - rows) / 3);
            Values y(dtype, static_cast<size_t>(rows * n));
            linear->run(static_cast<const unsigned char*>(x.data()) + first * in_row, y.data(), rows);
            ASSERT_EQ(0, std::memcmp(y.data(), whole.bytes().data() + first * out_row,
                                     static_cast<size_t>(rows) * out_row))
                << linear->implementation() << " " << short_name(dtype) << " n=" << n << " k=" << k
                << " M=" << rows << " threads=" << threads;
          }
        }
      }
    }
  }
  omp_set_num_threads(threads_before);
}

// The first columns of a few rows only: those, and all other columns of every row, have the bits of run().
TEST(CpuGemm, LeavesOutColumnsOfRowsThatNobodyWants) {
  constexpr int64_t kRows = 100, n = 210, k = 113;
  const std::vector<std::vector<int32_t>> wanted_rows = {{}, {99}, {0}, {3, 50, 51, 98}};
  const int threads_before = omp_get_max_threads();
  for (const DType dtype : compute_dtypes()) {
    const Values weight = random_values(dtype, static_cast<size_t>(n * k), 1);
    const Values x = random_values(dtype, static_cast<size_t>(kRows * k), 2);
    const std::vector<float> bias = random_floats(static_cast<size_t>(n), 3);
    const size_t element = size_of(dtype);
    for (const auto& linear : kernels({weight.data(), dtype, bias.data(), n, k, dtype, dtype, kRows})) {
      Values whole(dtype, static_cast<size_t>(kRows * n));
      linear->run(x.data(), whole.data(), kRows);
      for (const int threads : {1, 3}) {
        omp_set_num_threads(threads);
        for (const int64_t columns : {int64_t{0}, int64_t{63}, int64_t{130}, n}) {
          for (const std::vector<int32_t>& wanted : wanted_rows) {
            Values y(dtype, static_cast<size_t>(kRows * n));
            linear->run_wanted(x.data(), y.data(), kRows, columns, wanted);
            for (int32_t row = 0; row < kRows; ++row) {
              const bool whole_row = std::ranges::find(wanted, row) != wanted.end();
              const int64_t from = whole_row ? 0 : columns;
              const size_t at = static_cast<size_t>(row * n + from) * element;
              ASSERT_EQ(0, std::memcmp(y.bytes().data() + at, whole.bytes().data() + at,
                                       static_cast<size_t>(n - from) * element))
                  << linear->implementation() << " " << short_name(dtype) << " row " << row << " columns "
                  << columns << " threads=" << threads;
            }
          }
        }
      }
      omp_set_num_threads(threads_before);
    }
  }
}

TEST(CpuGemm, WidensWeightsOf16BitsForFloat32) {
  const int64_t n = 19, k = 38;
  for (const DType stored : {DType::BFloat16, DType::Float16}) {
    Values weight = random_values(stored, static_cast<size_t>(n * k), 1);
    weight.set(0, 0x1p-24f);  // float16's smallest
    Values x = random_values(DType::Float32, static_cast<size_t>(7 * k), 2);
    x.set(0, 0x1p20f);
    PackedLinear linear(weight.data(), stored, nullptr, n, k, DType::Float32, DType::Float32, 7);
    Values y(DType::Float32, static_cast<size_t>(7 * n));
    linear.run(x.data(), y.data(), 7);
    expect_close(std::string(short_name(stored)) + " weights in float32", y,
                 reference(x, weight, {}, 7, n, k), 1e-6, 1);
  }
}

TEST(CpuGemm, PacksMatricesOfManySlices) {
  const int64_t n = 1100, k = 1041;
  for (const DType compute : compute_dtypes()) {
    for (const DType stored : {compute, DType::BFloat16}) {
      const Values weight = random_values(stored, static_cast<size_t>(n * k), 1);
      const Values x = random_values(compute, static_cast<size_t>(2 * k), 2);
      PackedLinear linear(weight.data(), stored, nullptr, n, k, compute, DType::Float32, 2);
      Values y(DType::Float32, static_cast<size_t>(2 * n));
      linear.run(x.data(), y.data(), 2);
      expect_close(std::string(short_name(stored)) + " packed for " + short_name(compute), y,
                   reference(x, weight, {}, 2, n, k), 1e-6, 1e-3);
    }
  }
}

TEST(CpuGemm, SurvivesMovesAndManyRowCounts) {
  const int64_t n = 33, k = 17;
  const Values weight = random_values(DType::Float32, static_cast<size_t>(n * k), 1);
  const Values x = random_values(DType::Float32, static_cast<size_t>(200 * k), 2);
  PackedLinear first(weight.data(), DType::Float32, nullptr, n, k, DType::Float32, DType::Float32, 200);
  first.prepare(5);
  PackedLinear second = std::move(first);
  const std::vector<double> want = reference(x, weight, {}, 200, n, k);
  for (int round = 0; round < 2; ++round) {
    for (int64_t rows = 1; rows <= 100; ++rows) {  // more than the primitive cache holds
      Values y(DType::Float32, static_cast<size_t>(rows * n));
      second.run(x.data(), y.data(), rows);
      for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], want[i], 1e-4) << rows;
    }
  }
}

}  // namespace
}  // namespace kraken::cpu
