#include <gtest/gtest.h>

#include "backend/cpu/buffer_plan.h"

namespace kraken::cpu {
namespace {

TEST(BufferPlan, ReusesReturnedBuffersOfTheSameSize) {
  BufferPlan plan;
  const BufferId a = plan.acquire(Rows::Tokens, 100);
  const BufferId b = plan.acquire(Rows::Tokens, 100);
  EXPECT_NE(a, b);
  plan.release(a);
  EXPECT_NE(plan.acquire(Rows::Wanted, 100), a);
  EXPECT_NE(plan.acquire(Rows::Tokens, 96), a);
  EXPECT_EQ(plan.acquire(Rows::Tokens, 100), a);
}

TEST(BufferPlan, KeepsSentBuffersUntilEveryRankHasReadThem) {
  BufferPlan plan;
  const BufferId a = plan.acquire(Rows::Tokens, 8);
  EXPECT_TRUE(plan.exclusive(a));
  plan.send(a, 0);
  EXPECT_FALSE(plan.exclusive(a));
  plan.release(a);  // its own value is gone; other ranks may still read it
  plan.waited(0);
  plan.waited(1);
  EXPECT_NE(plan.acquire(Rows::Tokens, 8), a);
  plan.waited(2);
  EXPECT_EQ(plan.acquire(Rows::Tokens, 8), a);
  EXPECT_TRUE(plan.exclusive(a));
}

TEST(BufferPlan, SharedBuffersAreNotOverwritten) {
  BufferPlan plan;
  const BufferId a = plan.acquire(Rows::Tokens, 8);
  plan.retain(a);
  EXPECT_FALSE(plan.exclusive(a));
  plan.release(a);
  EXPECT_TRUE(plan.exclusive(a));
}

}  // namespace
}  // namespace kraken::cpu
