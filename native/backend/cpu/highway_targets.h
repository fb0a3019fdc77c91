// Comes before any Highway header: our kernels keep arrays of vectors in registers, which the sizeless types
// of SVE do not allow (NEON serves there), and SSSE3 alone is not worth its code.
#pragma once

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_SSSE3)
#endif
