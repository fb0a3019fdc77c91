// The bfloat16 kernels worth their own intrinsics: they round two vectors to bfloat16 in one instruction.
// Only plain pointers here, for the reason given in attention_kernels.h.
#pragma once

#include <cstdint>

namespace kraken::cpu {

struct Bf16Kernels {
  void (*gelu_tanh)(uint16_t* x, int64_t count);
  void (*swiglu)(const uint16_t* gate, const uint16_t* up, uint16_t* out, int64_t count);
};

// Null pointers where the translation unit could not be compiled for AVX512_BF16.
Bf16Kernels avx512_bf16_kernels();

}  // namespace kraken::cpu
