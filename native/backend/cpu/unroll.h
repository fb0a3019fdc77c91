// Before a loop over the rows or vectors of a register tile: without it GCC unrolls too late to keep the
// tile's array in registers, and stores it at every step.
#pragma once

#if defined(__clang__)
#define KRAKEN_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define KRAKEN_UNROLL _Pragma("GCC unroll 8")
#else
#define KRAKEN_UNROLL
#endif
