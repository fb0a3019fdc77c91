#include "backend/cpu/instruction_set.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <string>

#include "backend/cpu/highway_targets.h"
#include "backend/cpu/linear_kernel.h"
#include "base/error.h"
#include "hwy/highway.h"

namespace kraken::cpu {
namespace {

constexpr std::array kNames = {"portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"};
constexpr int kSets = static_cast<int>(kNames.size());

std::string names_up_to(InstructionSet last) {
  std::string names = kNames[0];
  for (int set = 1; set <= static_cast<int>(last); ++set)
    names += std::string(", ") + name_of(InstructionSet{set});
  return names;
}

InstructionSet cap_from_environment() {
  constexpr InstructionSet kNoCap{kSets - 1};
  const char* text = std::getenv("KRAKEN_CPU_ISA");
  if (text == nullptr || *text == '\0') return kNoCap;
  for (int set = 0; set < kSets; ++set) {
    if (std::string(text) == name_of(InstructionSet{set})) return InstructionSet{set};
  }
  throw Error("ERR_OPTION",
              "KRAKEN_CPU_ISA must be one of " + names_up_to(kNoCap) + ", got \"" + text + "\"");
}

}  // namespace

const char* name_of(InstructionSet set) {
  return kNames[static_cast<size_t>(set)];
}

InstructionSet best_instruction_set() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    if (!__builtin_cpu_supports("avx512vnni")) return InstructionSet::Avx512;
    if (!__builtin_cpu_supports("avx512bf16")) return InstructionSet::Avx512Vnni;
    return onednn_has_matrix_tiles() ? InstructionSet::Amx : InstructionSet::Avx512Bf16;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::Avx2;
#endif
  return InstructionSet::Portable;
}

InstructionSet allowed_instruction_set() {
  static const InstructionSet allowed = std::min(best_instruction_set(), cap_from_environment());
  return allowed;
}

std::string available_instruction_sets() {
  return names_up_to(best_instruction_set());
}

void cap_highway_targets() {
  static std::once_flag once;
  std::call_once(once, [] {
#if HWY_ARCH_X86
    // In Highway a lower bit is a better target; everything below the lowest allowed bit is switched off.
    int64_t best = 0;
    switch (allowed_instruction_set()) {
      case InstructionSet::Portable:
        best = HWY_STATIC_TARGET;
        break;
      case InstructionSet::Avx2:
        best = HWY_AVX2;
        break;
      case InstructionSet::Avx512:
      case InstructionSet::Avx512Vnni:
      case InstructionSet::Avx512Bf16:
      case InstructionSet::Amx:
        return;
    }
    hwy::DisableTargets(best - 1);
#endif
  });
}

}  // namespace kraken::cpu
