// Stands in for linear_onednn.cpp in a prebuilt binary without oneDNN: machines with AMX use the AVX512_BF16
// kernels.
#include "backend/cpu/linear_kernel.h"

namespace kraken::cpu {

std::string onednn_version() {
  return "not in this build";
}

bool onednn_has_matrix_tiles() {
  return false;
}

std::unique_ptr<LinearKernel> make_onednn_linear(const LinearSpec&) {
  return nullptr;
}

}  // namespace kraken::cpu
