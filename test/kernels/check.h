// What a test of a kernel yields. The same functions run under GoogleTest on the host, where kernels are
// compiled over a stand-in for CUDA, and in test/gpu on a GPU; so they know neither.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace kraken::test {

// Sanitizers follow every switch of fibers, and take ten times as long.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr bool kIsSlow = true;
#else
constexpr bool kIsSlow = false;
#endif

struct Check {
  std::string name;
  double error = 0;      // the largest, relative to 1 + |expected|, or how many values are wrong
  double tolerance = 0;  // 0: exact
  bool passed() const { return error <= tolerance; }  // NaN does not pass
};
using Checks = std::vector<Check>;

inline void append(Checks& checks, Checks more) {
  checks.insert(checks.end(), more.begin(), more.end());
}

inline void require(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}
#define KRAKEN_CUDA(call) ::kraken::test::require(call, #call)

inline Check expect_close(std::string name, const std::vector<double>& got, const std::vector<double>& want,
                          double tolerance) {
  if (got.size() != want.size()) return {std::move(name), INFINITY, tolerance};
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = std::abs(got[i] - want[i]) / (1 + std::abs(want[i]));
    if (!(error <= worst)) worst = error;
    if (std::isnan(error)) break;
  }
  return {std::move(name), worst, tolerance};
}

template <typename Values>
Check expect_same(std::string name, const Values& got, const Values& want) {
  if (got.size() != want.size()) return {std::move(name), INFINITY, 0};
  double wrong = 0;
  for (size_t i = 0; i < want.size(); ++i) wrong += got[i] == want[i] ? 0 : 1;
  return {std::move(name), wrong, 0};
}

inline Check expect_true(std::string name, bool condition) {
  return {std::move(name), condition ? 0.0 : 1.0, 0};
}

inline Check expect_error(std::string name, cudaError_t got, cudaError_t want) {
  if (got != want) name += std::string(" (got: ") + cudaGetErrorString(got) + ")";
  return expect_true(std::move(name), got == want);
}

}  // namespace kraken::test
