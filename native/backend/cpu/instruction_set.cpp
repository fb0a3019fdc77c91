#include "backend/cpu/instruction_set.h"

#include <cstdlib>
#include <mutex>
#include <string>

#include "backend/cpu/highway_targets.h"
#include "base/error.h"
#include "hwy/highway.h"

namespace kraken::cpu {
namespace {

InstructionSet best_of_machine() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    if (!__builtin_cpu_supports("avx512vnni")) return InstructionSet::Avx512;
    return __builtin_cpu_supports("avx512bf16") ? InstructionSet::Avx512Bf16 : InstructionSet::Avx512Vnni;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::Avx2;
#endif
  return InstructionSet::Portable;
}

InstructionSet cap_from_environment() {
  const char* text = std::getenv("KRAKEN_CPU_ISA");
  if (text == nullptr || *text == '\0') return InstructionSet::Avx512Bf16;
  const std::string name = text;
  if (name == "portable") return InstructionSet::Portable;
  if (name == "avx2") return InstructionSet::Avx2;
  if (name == "avx512") return InstructionSet::Avx512;
  if (name == "avx512_vnni") return InstructionSet::Avx512Vnni;
  if (name == "avx512_bf16") return InstructionSet::Avx512Bf16;
  throw Error(
      "ERR_OPTION",
      "KRAKEN_CPU_ISA must be portable, avx2, avx512, avx512_vnni or avx512_bf16, got \"" + name + "\"");
}

}  // namespace

InstructionSet allowed_instruction_set() {
  static const InstructionSet allowed = [] {
    const InstructionSet best = best_of_machine(), cap = cap_from_environment();
    return best < cap ? best : cap;
  }();
  return allowed;
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
        return;
    }
    hwy::DisableTargets(best - 1);
#endif
  });
}

}  // namespace kraken::cpu
