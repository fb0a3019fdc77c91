// The kernels' whole bodies, run on the host.
#include <gtest/gtest.h>

#include <cstdio>

#include "cases.h"

namespace kraken::test {
namespace {

void expect_all(const Checks& checks) {
  double most = 0;
  ASSERT_FALSE(checks.empty());
  for (const Check& check : checks) {
    EXPECT_TRUE(check.passed()) << check.name << ": " << check.error << ", allowed " << check.tolerance;
    if (check.tolerance > 0) most = std::max(most, check.error / check.tolerance);
  }
  std::printf("  %zu checks, at most %.0f %% of a tolerance used\n", checks.size(), 100 * most);
}

TEST(KernelNorm, AgreesWithFloat64) {
  expect_all(norm_checks());
}
TEST(KernelNorm, KeepsAccuracyUnderALargeMean) {
  expect_all(norm_accuracy_checks());
}
TEST(KernelNorm, RefusesWhatItCannotDo) {
  expect_all(norm_argument_checks());
}
TEST(KernelJoinAdd, AgreesWithFloat64) {
  expect_all(join_add_checks());
}

}  // namespace
}  // namespace kraken::test
