// Which instruction set the CPU backend may use: the machine's best, capped by KRAKEN_CPU_ISA = one of the
// names below (read once; for tests and for bug reports).
#pragma once

#include <string>

namespace kraken::cpu {

// Each holds all before it. Portable is what the compiler's baseline and NEON give; Amx counts where oneDNN,
// which alone uses it, may.
enum class InstructionSet { Portable, Avx2, Avx512, Avx512Vnni, Avx512Bf16, Amx };

// "portable", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx".
const char* name_of(InstructionSet set);

InstructionSet best_instruction_set();

// Throws ERR_OPTION when KRAKEN_CPU_ISA holds another word.
InstructionSet allowed_instruction_set();

// Every set that this machine has, one after another: what KRAKEN_CPU_ISA can choose here.
std::string available_instruction_sets();

// Makes Highway's run-time dispatch respect the cap. Called before the first dispatch of every kernel table.
void cap_highway_targets();

}  // namespace kraken::cpu
