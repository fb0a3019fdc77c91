// KRAKEN_EVERY_WIDTH before a function compiles it once for each vector width; which of them runs is chosen
// when the library is loaded. Sanitizers start too late for such a choice.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define KRAKEN_EVERY_WIDTH __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KRAKEN_EVERY_WIDTH
#endif
