#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "backend/cpu/gemm.h"
#include "backend/cpu/instruction_set.h"
#include "backend/cpu/kernels.h"

namespace kraken::cpu {
namespace {

std::string forced() {
  const char* name = std::getenv("KRAKEN_CPU_ISA");
  return name == nullptr ? "" : name;
}

// The kernels' tests run once for every set. What the machine lacks would only repeat its best.
class ForcedSetIsAvailable : public ::testing::Environment {
 public:
  void SetUp() override {
    if (forced().empty() || forced() == name_of(allowed_instruction_set())) return;
    GTEST_SKIP() << forced() << " cannot be tested: this machine has only " << available_instruction_sets();
  }
};

[[maybe_unused]] const auto* const kEnvironment =
    ::testing::AddGlobalTestEnvironment(new ForcedSetIsAvailable);

TEST(CpuInstructionSet, IsTheBestOfTheMachineOrTheOneForced) {
  const InstructionSet allowed = allowed_instruction_set();
  if (forced().empty()) {
    EXPECT_EQ(allowed, best_instruction_set());
  } else {
    EXPECT_EQ(name_of(allowed), forced());
  }
  EXPECT_EQ(compute_dtype(DType::BFloat16) == DType::BFloat16, allowed >= InstructionSet::Avx512Bf16);
}

TEST(CpuInstructionSet, HoldsForTheKernelsThatHighwayDispatches) {
  const InstructionSet allowed = allowed_instruction_set();
  const std::string target = highway_target();
  EXPECT_EQ(target.starts_with("AVX3"), allowed >= InstructionSet::Avx512) << target;
  EXPECT_EQ(target == "AVX2", allowed == InstructionSet::Avx2) << target;
}

}  // namespace
}  // namespace kraken::cpu
