#include "attention_plugin/attention_plugin.h"

#include <cmath>
#include <numbers>
#include <string>

#include "common/error.h"
#include "common/log.h"

namespace kraken::plugins {
namespace {

enum Input { kQkv, kPositions, kSequenceBegins, kPastLengths, kBlockTables, kWantedRows };

[[noreturn]] void refuse(const char* field, const std::string& expected, int64_t got) {
  throw PluginError("field \"" + std::string(field) + "\" must be " + expected + ", got " +
                    std::to_string(got));
}

void check(const AttentionPlugin::Attributes& a) {
  if (a.heads % a.kv_heads != 0) {
    refuse("kv_heads", "a divisor of heads (" + std::to_string(a.heads) + ")", a.kv_heads);
  }
  if ((a.block_tokens & (a.block_tokens - 1)) != 0) refuse("block_tokens", "a power of two", a.block_tokens);
  if (a.rotary_style == 0) return;
  if (a.rotary_dims < 2 || a.rotary_dims % 2 != 0 || a.rotary_dims > a.head_dim) {
    refuse("rotary_dims", "an even number from 2 to head_dim (" + std::to_string(a.head_dim) + ")",
           a.rotary_dims);
  }
  const auto scales = static_cast<int64_t>(a.rotary_frequency_scale.size());
  if (scales != 1 && scales != a.rotary_dims / 2) {
    refuse("rotary_frequency_scale", "1 or rotary_dims / 2 (" + std::to_string(a.rotary_dims / 2) + ") long",
           scales);
  }
}

kernels::Rotary rotary_of(const AttentionPlugin::Attributes& a) {
  kernels::Rotary rotary;
  rotary.style = static_cast<kernels::RotaryStyle>(a.rotary_style);
  if (rotary.style == kernels::RotaryStyle::None) return rotary;
  rotary.dims = a.rotary_dims;
  const std::vector<float>& scales = a.rotary_frequency_scale;
  for (int32_t i = 0; i < a.rotary_dims / 2; ++i) {
    const double scale = double{scales[scales.size() == 1 ? 0 : static_cast<size_t>(i)]};
    rotary.turns[i] =
        std::pow(double{a.rotary_base}, -2.0 * i / a.rotary_dims) * scale / (2 * std::numbers::pi);
  }
  return rotary;
}

const int32_t* integers(const void* input) {
  return static_cast<const int32_t*>(input);
}

}  // namespace

AttentionPlugin::AttentionPlugin(const Attributes& attributes) : Plugin(kName), a_(attributes) {
  check(a_);
  rotary_ = rotary_of(a_);
  describe(a_, fields_);
}

AttentionPlugin::AttentionPlugin(const AttentionPlugin& other)
    : Plugin(other), a_(other.a_), rotary_(other.rotary_) {
  describe(a_, fields_);
}

nvinfer1::IPluginV3* AttentionPlugin::clone() noexcept {
  return guarded(kName, static_cast<nvinfer1::IPluginV3*>(nullptr),
                 [&]() -> nvinfer1::IPluginV3* { return new AttentionPlugin(*this); });
}

kernels::AttentionShape AttentionPlugin::shape(kernels::DType dtype) const {
  return {dtype, a_.ways, a_.heads, a_.kv_heads, a_.head_dim};
}

// S+1 and S may be dynamic dimensions of their own, so they are compared only where both are known.
void AttentionPlugin::check_shapes(std::span<const nvinfer1::Dims> inputs) const {
  require_shape("qkv", inputs[kQkv], {a_.ways, -1, (a_.heads + 2 * a_.kv_heads) * a_.head_dim});
  require_shape("positions", inputs[kPositions], {inputs[kQkv].d[1]});
  require_shape("past_lengths", inputs[kPastLengths], {-1});
  const int64_t sequences = inputs[kPastLengths].d[0];
  require_shape("sequence_begins", inputs[kSequenceBegins], {sequences < 0 ? -1 : sequences + 1});
  require_shape("block_tables", inputs[kBlockTables], {sequences, table_width()});
  if (a_.last_tokens) require_shape("wanted_rows", inputs[kWantedRows], {-1});
}

void AttentionPlugin::shape_output(const nvinfer1::DimsExprs* inputs, nvinfer1::DimsExprs& output,
                                   nvinfer1::IExprBuilder& builder) const {
  output = inputs[kQkv];
  if (a_.last_tokens) output.d[1] = inputs[kWantedRows].d[0];
  output.d[2] = builder.constant(int64_t{a_.heads} * a_.head_dim);
}

size_t AttentionPlugin::getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t nb_inputs,
                                         const nvinfer1::DynamicPluginTensorDesc*,
                                         int32_t nb_outputs) const noexcept {
  return guarded(kName, size_t{0}, [&] {
    check_count(nb_inputs, nb_outputs);
    const kernels::DType dtype = kernel_type(inputs[kQkv].desc.type);
    return static_cast<size_t>(kernels::attention_workspace(shape(dtype), inputs[kQkv].max.d[1]));
  });
}

void AttentionPlugin::check_binding(const Binding& binding) const {
  if (binding.kv_cache == nullptr) return;
  const kraken_kv_cache_options& cache = binding.kv_cache->options();
  const auto require = [](const char* what, int64_t given, int64_t wanted) {
    if (given == wanted) return;
    throw PluginError("the bound key/value cache has " + std::to_string(given) + " " + what +
                      ", this layer needs " + std::to_string(wanted));
  };
  require("heads", cache.heads, int64_t{a_.ways} * a_.kv_heads);
  require("elements in a head", cache.head_dim, a_.head_dim);
  require("tokens in a block", cache.block_tokens, a_.block_tokens);
  if (a_.layer >= cache.layers) {
    throw PluginError("the bound key/value cache has " + std::to_string(cache.layers) +
                      " layers, this is layer " + std::to_string(a_.layer));
  }
}

void AttentionPlugin::run(const Call& call) {
  if (call.kv_cache != nullptr && call.kv_cache->dtype() != call.dtype) {
    throw PluginError("the bound key/value cache holds elements of another type than qkv");
  }
  const auto dims = [&](Input input) { return call.input_descs[input].dims.d; };
  kernels::AttentionSpec spec;
  spec.shape = shape(call.dtype);
  spec.scale = a_.scale;
  spec.rotary = rotary_;
  spec.tokens = dims(kQkv)[1];
  spec.sequences = dims(kPastLengths)[0];
  spec.rows = call.shape.d[1];
  spec.qkv = call.inputs[kQkv];
  spec.positions = integers(call.inputs[kPositions]);
  spec.sequence_begins = integers(call.inputs[kSequenceBegins]);
  spec.past_lengths = integers(call.inputs[kPastLengths]);
  spec.block_tables = integers(call.inputs[kBlockTables]);
  if (a_.last_tokens) spec.wanted_rows = integers(call.inputs[kWantedRows]);
  spec.table_width = dims(kBlockTables)[1];
  spec.block_tokens = a_.block_tokens;
  if (call.kv_cache != nullptr) {
    spec.cache = call.kv_cache->layer(a_.layer);
    spec.cache_blocks = call.kv_cache->options().blocks;
  }
  spec.workspace = call.workspace;
  spec.out = call.output;
  check_cuda(kernels::attention(spec, call.stream), "the kernels");
}

}  // namespace kraken::plugins
