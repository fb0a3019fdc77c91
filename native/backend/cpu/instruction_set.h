// Which instruction set the CPU backend may use: the machine's best, capped by KRAKEN_CPU_ISA =
// portable | avx2 | avx512 | avx512_vnni | avx512_bf16 (read once; for tests and for bug reports).
#pragma once

namespace kraken::cpu {

// Each has what those before it have.
enum class InstructionSet { Portable, Avx2, Avx512, Avx512Vnni, Avx512Bf16 };

// Throws ERR_OPTION when KRAKEN_CPU_ISA holds another word.
InstructionSet allowed_instruction_set();

// Makes Highway's run-time dispatch respect the cap. Called before the first dispatch of every kernel table.
void cap_highway_targets();

}  // namespace kraken::cpu
