// The kernels' whole bodies, run on the host.
#include <gtest/gtest.h>

#include <cstdio>

#include "cases.h"
#include "values.h"

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

TEST(KernelShortlist, AgreesWithSorting) {
  expect_all(shortlist_checks());
}
TEST(KernelShortlist, MarksRowsThatAreNoNumbers) {
  expect_all(shortlist_invalid_checks());
}

class Types : public testing::TestWithParam<kernels::DType> {};

TEST_P(Types, AttentionAgreesWithFloat64) {
  expect_all(attention_checks(GetParam()));
}
INSTANTIATE_TEST_SUITE_P(KernelAttention, Types, testing::ValuesIn(kDTypes),
                         [](const auto& info) { return short_name(info.param); });
TEST(KernelAttention, KeepsAccuracyFarIntoAContext) {
  expect_all(attention_accuracy_checks());
}
TEST(KernelAttention, IsNotLedAstrayByGarbage) {
  expect_all(attention_garbage_checks());
}
TEST(KernelAttention, RefusesWhatItCannotDo) {
  expect_all(attention_argument_checks());
}

class Ranks : public testing::TestWithParam<int> {};

TEST_P(Ranks, AllReduceAgreesWithFloat64) {
  expect_all(all_reduce_checks(GetParam()));
}
TEST_P(Ranks, ExchangesInARowKeepApart) {
  expect_all(all_reduce_sequence_checks(GetParam()));
}
TEST_P(Ranks, FoldedJoinAgreesWithAllReduce) {
  expect_all(folded_join_checks(GetParam()));
}
INSTANTIATE_TEST_SUITE_P(KernelExchange, Ranks, testing::Values(1, 2, 4, 8));

class SeveralRanks : public testing::TestWithParam<int> {};

TEST_P(SeveralRanks, ALostOneIsAnErrorAndNoHang) {
  expect_all(lost_rank_checks(GetParam()));
}
INSTANTIATE_TEST_SUITE_P(KernelExchange, SeveralRanks, testing::Values(2, 4, 8));

TEST(KernelExchange, RefusesWhatItCannotDo) {
  expect_all(all_reduce_argument_checks());
}

}  // namespace
}  // namespace kraken::test
