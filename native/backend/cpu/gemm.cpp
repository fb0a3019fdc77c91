#include "backend/cpu/gemm.h"

#include "backend/cpu/instruction_set.h"
#include "backend/cpu/linear_kernel.h"
#include "base/error.h"

namespace kraken::cpu {

DType compute_dtype(DType engine_dtype) {
  if (engine_dtype == DType::Float32 || engine_dtype == DType::Float16) return DType::Float32;
  return allowed_instruction_set() >= InstructionSet::Avx512Bf16 ? DType::BFloat16 : DType::Float32;
}

bool int8_is_native() {
  return allowed_instruction_set() >= InstructionSet::Avx512Vnni;
}

namespace {

// Our own kernels are at least as fast as oneDNN's for every number of rows, but for its matrix tiles (AMX).
std::unique_ptr<LinearKernel> make_kernel(const LinearSpec& spec) {
  if (spec.compute == DType::Float32) return make_panel_linear(float32_panel_kernel(), spec);
  if (spec.compute == DType::Int8)
    return make_panel_linear(int8_is_native() ? avx512_vnni_panel_kernel() : int8_panel_kernel(), spec);
  if (allowed_instruction_set() >= InstructionSet::Amx) {
    if (auto kernel = make_onednn_linear(spec)) return kernel;
  }
  return make_panel_linear(avx512_bf16_panel_kernel(), spec);
}

}  // namespace

struct PackedLinear::Impl {
  int64_t n, k;
  std::unique_ptr<LinearKernel> kernel;
};

PackedLinear::PackedLinear(const void* weight, DType stored, const float* bias, int64_t n, int64_t k,
                           DType compute, DType output, int64_t max_rows, const float* scales) {
  KRAKEN_CHECK(weight != nullptr && n > 0 && k > 0 && max_rows > 0);
  KRAKEN_CHECK(stored == compute || compute == DType::Float32);
  KRAKEN_CHECK((stored == DType::Int8) == (compute == DType::Int8) &&
               (stored == DType::Int8) == (scales != nullptr));
  KRAKEN_CHECK(compute == DType::Int8 || compute == compute_dtype(compute));
  KRAKEN_CHECK(output == DType::Float32 || output == compute_dtype(compute));
  const LinearSpec spec{weight, stored, bias, n, k, compute, output, max_rows, scales};
  impl_ = std::make_unique<Impl>(Impl{n, k, make_kernel(spec)});
}

PackedLinear::~PackedLinear() = default;
PackedLinear::PackedLinear(PackedLinear&&) noexcept = default;
PackedLinear& PackedLinear::operator=(PackedLinear&&) noexcept = default;

void PackedLinear::run(const void* x, void* y, int64_t rows) {
  if (rows > 0) impl_->kernel->run(x, y, rows);
}

void PackedLinear::run_wanted(const void* x, void* y, int64_t rows, int64_t columns,
                              std::span<const int32_t> wanted) {
  KRAKEN_CHECK(columns >= 0 && columns <= impl_->n);
  if (rows > 0) impl_->kernel->run_wanted(x, y, rows, columns, wanted);
}

void PackedLinear::prepare(int64_t rows) {
  if (rows > 0) impl_->kernel->prepare(rows);
}

std::span<const std::byte> PackedLinear::packed() const {
  return impl_->kernel->packed();
}
int64_t PackedLinear::n() const {
  return impl_->n;
}
int64_t PackedLinear::k() const {
  return impl_->k;
}
const char* PackedLinear::implementation() const {
  return impl_->kernel->implementation();
}

}  // namespace kraken::cpu
