// The embedded backend: every rank is a thread of this process.
#include <hwy/highway.h>

#include "backend/backend.h"
#include "backend/cpu/attention.h"
#include "backend/cpu/cpu_model.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/instruction_set.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/linear_kernel.h"

namespace kraken {
namespace {

class CpuBackend : public Backend {
 public:
  const char* name() const override { return "cpu"; }

  Capability capability() const override {
    return {true,
            "",
            {{"instructionSet", cpu::name_of(cpu::allowed_instruction_set())},
             {"instructionSets", cpu::available_instruction_sets()},
             {"highwayTarget", cpu::highway_target()},
             {"bfloat16", cpu::compute_dtype(DType::BFloat16) == DType::BFloat16
                              ? "native"
                              : "computed in float32: this CPU has no AVX512_BF16"},
             {"float16", "computed in float32"},
             {"int8", cpu::int8_is_native() ? "native"
                                            : "exact, at the speed of float32: this CPU has no AVX512_VNNI"},
             {"oneDNN", cpu::onednn_version()},
             {"highway", std::to_string(HWY_MAJOR) + "." + std::to_string(HWY_MINOR) + "." +
                             std::to_string(HWY_PATCH)}}};
  }

  DType compute_dtype(DType engine) const override { return cpu::compute_dtype(engine); }

  int kv_block_tokens() const override { return cpu::kBlockTokens; }

  size_t kv_block_bytes(const Graph& graph, DType dtype) const override {
    const cpu::AttentionShape shape{graph.ways, graph.heads, graph.kv_heads, graph.config.head_dim,
                                    cpu::compute_dtype(dtype)};
    return shape.block_bytes() * static_cast<size_t>(graph.config.layers);
  }

  std::unique_ptr<RankModel> compile(const Graph& graph, const std::string& engine_file,
                                     Communicator& communicator,
                                     const CompileOptions& options) const override {
    return std::make_unique<cpu::CpuModel>(graph, RankFile::open(engine_file), communicator, options);
  }
};

}  // namespace

const Backend& cpu_backend() {
  static const CpuBackend backend;
  return backend;
}

}  // namespace kraken
