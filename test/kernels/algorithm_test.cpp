#include "algorithm.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

namespace kraken::kernels {
namespace {

constexpr int64_t kMiB = 1 << 20;

Exchange exchange(int64_t bytes, int32_t ranks, int32_t sm = 80) {
  Exchange one;
  one.bytes = bytes;
  one.ranks = ranks;
  one.sm = sm;
  one.has_peer_access = true;
  return one;
}

std::string refusal(const std::string& text) {
  try {
    AlgorithmTable::parse(text, "table.txt");
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

TEST(AlgorithmTable, BuiltInFollowsSizeAndHardware) {
  const AlgorithmTable table = AlgorithmTable::built_in();
  EXPECT_EQ(table.choose(exchange(8192, 4)).algorithm, Algorithm::OneShot);
  EXPECT_EQ(table.choose(exchange(kMiB, 2)).algorithm, Algorithm::OneShot);
  EXPECT_EQ(table.choose(exchange(kMiB, 8)).algorithm, Algorithm::TwoShot);
  EXPECT_EQ(table.choose(exchange(64 * kMiB, 8)).algorithm, Algorithm::Nccl);
  Exchange one = exchange(kMiB, 8, 90);
  one.has_multicast = true;
  EXPECT_EQ(table.choose(one).algorithm, Algorithm::Multimem);
  one.sm = 80;
  EXPECT_EQ(table.choose(one).algorithm, Algorithm::TwoShot) << "sm_80 has no multimem";
  one.has_peer_access = false;
  EXPECT_EQ(table.choose(one).algorithm, Algorithm::Nccl);
  EXPECT_EQ(table.choose(exchange(8192, 16)).algorithm, Algorithm::Nccl) << "more than 8 ranks";
  one = exchange(8192, 4);
  one.joined_by_norm = true;
  EXPECT_EQ(table.choose(one).algorithm, Algorithm::Folded);
}

TEST(AlgorithmTable, EveryChoiceCanBeLaunched) {
  const AlgorithmTable table = AlgorithmTable::built_in();
  for (const Rule& rule : table.rules()) {
    const bool has_blocks =
        rule.choice.algorithm != Algorithm::Folded && rule.choice.algorithm != Algorithm::Nccl;
    EXPECT_EQ(rule.choice.blocks > 0, has_blocks) << name_of(rule.choice.algorithm);
    EXPECT_LE(rule.choice.blocks, 64);
  }
}

TEST(AlgorithmTable, ReadsWhatItWrites) {
  const AlgorithmTable table = AlgorithmTable::built_in();
  const AlgorithmTable read = AlgorithmTable::parse(table.to_text(), "text");
  ASSERT_EQ(read.rules().size(), table.rules().size());
  EXPECT_EQ(read.to_text(), table.to_text());
}

TEST(AlgorithmTable, TheFirstRuleThatFitsWins) {
  const AlgorithmTable table = AlgorithmTable::parse(
      "# for two GPUs\n"
      "2 90 1000 two-shot 3  # small\n"
      "\n"
      "* * * one-shot 2\n",
      "table.txt");
  EXPECT_EQ(table.choose(exchange(1000, 2, 90)), (Choice{Algorithm::TwoShot, 3}));
  EXPECT_EQ(table.choose(exchange(1000, 2, 100)), (Choice{Algorithm::TwoShot, 3})) << "newer ones too";
  EXPECT_EQ(table.choose(exchange(1001, 2, 90)), (Choice{Algorithm::OneShot, 2}));
  EXPECT_EQ(table.choose(exchange(1000, 2, 80)), (Choice{Algorithm::OneShot, 2}));
  EXPECT_EQ(table.choose(exchange(1000, 4, 90)), (Choice{Algorithm::OneShot, 2}));
}

TEST(AlgorithmTable, SaysWhatIsWrongWithALine) {
  EXPECT_EQ(refusal("* * * one-shot"),
            "table.txt, line 1: expected \"ranks sm max_bytes algorithm blocks\", got 4 words");
  EXPECT_EQ(
      refusal("\n* * * ring 4"),
      "table.txt, line 2: algorithm must be one of folded, one-shot, two-shot, multimem, nccl, got \"ring\"");
  EXPECT_EQ(refusal("0 * * one-shot 4"),
            "table.txt, line 1: ranks must be * or a whole number from 1 to 2147483647, got \"0\"");
  EXPECT_EQ(refusal("2 9.0 * one-shot 4"),
            "table.txt, line 1: sm must be * or a whole number from 50 to 999, got \"9.0\"");
  EXPECT_EQ(refusal("2 90 99999999999999999999 one-shot 4"),
            "table.txt, line 1: max_bytes must be * or a whole number from 1 to 1125899906842624, got "
            "\"99999999999999999999\"");
  EXPECT_EQ(refusal("2 90 * one-shot 65"),
            "table.txt, line 1: blocks must be * or a whole number from 1 to 64, got \"65\"");
  EXPECT_EQ(refusal("2 90 * one-shot *"),
            "table.txt, line 1: blocks must be a whole number from 1 to 64, got \"*\"");
  EXPECT_EQ(refusal("2 90 * nccl 4"), "table.txt, line 1: blocks must be * for nccl, got \"4\"");
  EXPECT_EQ(refusal("# nothing\n"), "table.txt holds no rule");
  EXPECT_THROW(AlgorithmTable::read("/nowhere/table.txt"), std::invalid_argument);
}

// Times as a made-up machine would have them.
class Timings {
 public:
  explicit Timings(int32_t ranks, int32_t sm = 90, bool has_multicast = false)
      : ranks_(ranks), sm_(sm), has_multicast_(has_multicast) {}

  Timings& add(int64_t bytes, Choice choice, double microseconds, bool joined = false) {
    Exchange one = exchange(bytes, ranks_, sm_);
    one.has_multicast = has_multicast_;
    one.joined_by_norm = joined;
    list.push_back({one, choice, microseconds});
    return *this;
  }
  Choice choose(int64_t bytes, bool joined) const {
    Exchange one = exchange(bytes, ranks_, sm_);
    one.has_multicast = has_multicast_;
    one.joined_by_norm = joined;
    return AlgorithmTable::from_measurements(list).choose(one);
  }

  std::vector<Measurement> list;

 private:
  int32_t ranks_, sm_;
  bool has_multicast_;
};

TEST(AlgorithmTable, MeasurementsBecomeRules) {
  Timings timings(4);
  for (const int64_t bytes : {1000, 4000, 16000, 64000}) {
    const double size = static_cast<double>(bytes);
    constexpr double kNorms = 3;  // what is joined is timed with its norms
    timings.add(bytes, {Algorithm::Folded, 0}, 5 + size / 1000, true);
    timings.add(bytes, {Algorithm::OneShot, 8}, 6 + kNorms + size / 4000, true);
    timings.add(bytes, {Algorithm::OneShot, 4}, 5 + size / 2000);
    timings.add(bytes, {Algorithm::OneShot, 8}, 6 + size / 4000);
    timings.add(bytes, {Algorithm::TwoShot, 16}, 10 + size / 8000);
  }
  EXPECT_EQ(timings.choose(1000, true), (Choice{Algorithm::Folded, 0}));
  EXPECT_EQ(timings.choose(4000, true), (Choice{Algorithm::Folded, 0}));
  EXPECT_EQ(timings.choose(16000, true), (Choice{Algorithm::OneShot, 8}));
  EXPECT_EQ(timings.choose(1000, false), (Choice{Algorithm::OneShot, 4})) << "which no norm joins";
  EXPECT_EQ(timings.choose(1999, false), (Choice{Algorithm::OneShot, 4})) << "up to halfway";
  EXPECT_EQ(timings.choose(4000, false), (Choice{Algorithm::OneShot, 4}));
  EXPECT_EQ(timings.choose(16000, false), (Choice{Algorithm::OneShot, 8}));
  EXPECT_EQ(timings.choose(64000, false), (Choice{Algorithm::TwoShot, 16}));
  EXPECT_EQ(timings.choose(1 << 30, false), (Choice{Algorithm::TwoShot, 16})) << "as the largest measured";
  const AlgorithmTable table = AlgorithmTable::from_measurements(timings.list);
  EXPECT_EQ(table.choose(exchange(8192, 8, 80)), AlgorithmTable::built_in().choose(exchange(8192, 8, 80)));
  EXPECT_EQ(AlgorithmTable::parse(table.to_text(), "text").to_text(), table.to_text());
}

TEST(AlgorithmTable, EveryAlgorithmWinsWhereItIsTheFastest) {
  Timings timings(8, 90, true);
  timings.add(1 << 12, {Algorithm::Folded, 0}, 8, true).add(1 << 12, {Algorithm::Multimem, 8}, 12, true);
  timings.add(1 << 16, {Algorithm::Folded, 0}, 30, true).add(1 << 16, {Algorithm::Multimem, 8}, 16, true);
  timings.add(1 << 12, {Algorithm::OneShot, 4}, 4).add(1 << 12, {Algorithm::Multimem, 8}, 6);
  timings.add(1 << 16, {Algorithm::OneShot, 4}, 14).add(1 << 16, {Algorithm::TwoShot, 8}, 9);
  timings.add(1 << 16, {Algorithm::Multimem, 8}, 10).add(1 << 20, {Algorithm::TwoShot, 8}, 40);
  timings.add(1 << 20, {Algorithm::Multimem, 16}, 20).add(1 << 20, {Algorithm::Nccl, 0}, 45);
  timings.add(1 << 26, {Algorithm::Multimem, 16}, 900).add(1 << 26, {Algorithm::Nccl, 0}, 700);
  EXPECT_EQ(timings.choose(1 << 12, true), (Choice{Algorithm::Folded, 0}));
  EXPECT_EQ(timings.choose(1 << 16, true), (Choice{Algorithm::TwoShot, 8}))
      << "folded is no longer the fastest";
  EXPECT_EQ(timings.choose(1 << 12, false), (Choice{Algorithm::OneShot, 4}));
  EXPECT_EQ(timings.choose(1 << 20, false), (Choice{Algorithm::Multimem, 16}));
  EXPECT_EQ(timings.choose(1 << 26, false), (Choice{Algorithm::Nccl, 0}));
  Exchange without = exchange(1 << 20, 8, 90);
  EXPECT_EQ(AlgorithmTable::from_measurements(timings.list).choose(without), (Choice{Algorithm::Nccl, 0}))
      << "a table from a machine with multicast, on one without";
}

TEST(AlgorithmTable, UnusableTimesChooseNothing) {
  Timings timings(2, 80);
  timings.add(1000, {Algorithm::Multimem, 8}, 1);  // no such hardware
  timings.add(1000, {Algorithm::TwoShot, 8}, 0).add(1000, {Algorithm::TwoShot, 4}, -1);
  timings.add(1000, {Algorithm::OneShot, 8}, std::numeric_limits<double>::quiet_NaN());
  timings.add(1000, {Algorithm::Folded, 0}, 1);  // timed as one that no norm joins
  EXPECT_EQ(AlgorithmTable::from_measurements(timings.list).to_text(), AlgorithmTable::built_in().to_text());
  EXPECT_EQ(AlgorithmTable::from_measurements({}).to_text(), AlgorithmTable::built_in().to_text());
}

TEST(AlgorithmTable, RulesOfANewerArchitectureComeFirst) {
  std::vector<Measurement> both;
  for (const int32_t sm : {80, 90}) {
    Timings timings(2, sm);
    timings.add(1000, {sm == 80 ? Algorithm::OneShot : Algorithm::TwoShot, 8}, 1);
    both.insert(both.end(), timings.list.begin(), timings.list.end());
  }
  const AlgorithmTable table = AlgorithmTable::from_measurements(both);
  EXPECT_EQ(table.choose(exchange(1000, 2, 80)), (Choice{Algorithm::OneShot, 8}));
  EXPECT_EQ(table.choose(exchange(1000, 2, 90)), (Choice{Algorithm::TwoShot, 8}));
  EXPECT_EQ(table.choose(exchange(1000, 2, 100)), (Choice{Algorithm::TwoShot, 8}));
}

}  // namespace
}  // namespace kraken::kernels
