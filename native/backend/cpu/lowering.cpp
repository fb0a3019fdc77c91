#include "backend/cpu/lowering.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "backend/cpu/kernels.h"
#include "backend/cpu/quantised_rows.h"
#include "base/error.h"
#include "weights/int8_rows.h"

namespace kraken::cpu {
namespace {

// cos and sin of position · base^(−2i/dims) (· scale), [positions, dims/2] each, computed in double.
std::pair<std::vector<float>, std::vector<float>> rotary_tables(const RotaryConfig& rotary, int positions) {
  const int half = rotary.dims / 2;
  std::vector<float> cos(static_cast<size_t>(positions) * half), sin(cos.size());
  for (int i = 0; i < half; ++i) {
    const double scale =
        rotary.frequency_scale.empty() ? 1.0 : rotary.frequency_scale[static_cast<size_t>(i)];
    const double frequency = std::pow(rotary.base, -2.0 * i / rotary.dims) * scale;
    for (int position = 0; position < positions; ++position) {
      const size_t at = static_cast<size_t>(position) * half + i;
      cos[at] = static_cast<float>(std::cos(position * frequency));
      sin[at] = static_cast<float>(std::sin(position * frequency));
    }
  }
  return {std::move(cos), std::move(sin)};
}

}  // namespace

Lowering::Lowering(CpuModel& model, const Graph& graph, const CompileOptions& options, Attention& attention,
                   std::byte* kv_cache, size_t kv_layer_bytes)
    : model_(model),
      graph_(graph),
      options_(options),
      attention_(attention),
      kv_cache_(kv_cache),
      kv_layer_bytes_(kv_layer_bytes),
      dtype_(compute_dtype(options.dtype)),
      int8_(options.dtype == DType::Int8),
      values_(graph.tensors.size()),
      uses_(graph.tensors.size(), 0),
      exchange_of_(static_cast<size_t>(graph.exchanges), kNone) {
  for (const Op& op : graph.ops) {
    for (const TensorId id : op.inputs) ++uses_[static_cast<size_t>(id)];
    if (op.residual != kNone) ++uses_[static_cast<size_t>(op.residual)];
  }
  if (graph.config.rotary.dims > 0) {
    auto [cos, sin] =
        rotary_tables(graph.config.rotary, std::min(options.max_context, graph.config.max_positions));
    cos_ = model_.vectors.emplace_back(std::move(cos)).data();
    sin_ = model_.vectors.emplace_back(std::move(sin)).data();
  }
}

const BufferPlan& Lowering::lower() {
  for (const Op& op : graph_.ops) lower(op);
  model_.tickets.resize(static_cast<size_t>(started_));
  model_.exchanged.resize(static_cast<size_t>(started_));
  return plan_;
}

void Lowering::lower(const Op& op) {
  switch (op.kind) {
    case OpKind::Embed:
      return lower_embed(op);
    case OpKind::Norm:
      return lower_norm(op);
    case OpKind::Linear:
      return lower_linear(op);
    case OpKind::Attention:
      return lower_attention(op);
    case OpKind::AllReduce:
      return lower_all_reduce(op);
    case OpKind::StartNorm:
      return lower_start_norm(op);
    case OpKind::JoinNorm:
      return lower_join_norm(op);
    case OpKind::JoinAdd:
      return lower_join_add(op);
    case OpKind::LastTokens:
      return lower_last_tokens(op);
    case OpKind::LogitsHead:
      return lower_head(op);
  }
}

// --- bookkeeping
// -----------------------------------------------------------------------------------------------------

void Lowering::emit(std::string kind, std::function<void(const StepContext&)> run) {
  model_.steps.push_back({std::move(kind), std::move(run)});
}

void Lowering::emit_product(std::string kind, Rows rows, std::function<void(const StepContext&)> run) {
  model_.steps.push_back({std::move(kind), std::move(run), true, rows == Rows::Wanted});
}

size_t Lowering::input_row_bytes(int width) const {
  return int8_ ? static_cast<size_t>(quantised_row_bytes(width)) : static_cast<size_t>(width) * element();
}

size_t Lowering::input_bytes(TensorId id) const {
  return static_cast<size_t>(info(id).ways) * input_row_bytes(info(id).width);
}

size_t Lowering::row_bytes(TensorId id, size_t element) const {
  return static_cast<size_t>(info(id).ways) * static_cast<size_t>(info(id).width) * element;
}

void Lowering::use(TensorId id) {
  if (--uses_[static_cast<size_t>(id)] == 0) release(value(id));
}

// The same sum for another tensor, which may add to it.
Lowering::Value Lowering::share(TensorId id) {
  Value sum = value(id);
  sum.dense = sum.quantised = kNone;
  if (sum.base != kNone) plan_.retain(sum.base);
  for (const BufferId addend : sum.addends) plan_.retain(addend);
  return sum;
}

void Lowering::release(Value& value) {
  if (value.dense != kNone) plan_.release(value.dense);
  if (value.quantised != kNone) plan_.release(value.quantised);
  if (value.base != kNone) plan_.release(value.base);
  for (const BufferId id : value.addends) plan_.release(id);
  value = {};
}

const RankFile::Entry& Lowering::entry(WeightId id) const {
  if (options_.cancelled != nullptr && *options_.cancelled)
    throw Error("ERR_ABORTED", "the load was cancelled");
  const WeightSpec& spec = graph_.weights[static_cast<size_t>(id)];
  return model_.weights.get(spec.name, spec.shape);
}

const float* Lowering::vector(WeightId id) {
  if (id == kNone) return nullptr;
  const RankFile::Entry& stored = entry(id);
  KRAKEN_CHECK(stored.dtype == DType::Float32);
  const auto* values = reinterpret_cast<const float*>(stored.data);
  return model_.vectors.emplace_back(values, values + stored.bytes / sizeof(float)).data();
}

const Op* Lowering::attention_of(TensorId qkv) const {
  const auto found = std::ranges::find_if(
      graph_.ops, [qkv](const Op& op) { return op.kind == OpKind::Attention && op.inputs[0] == qkv; });
  return found == graph_.ops.end() ? nullptr : &*found;
}

// --- compute
// ---------------------------------------------------------------------------------------------------------

// A step's rows of the token table are read from the file: mapped, the whole table would soon be resident
// once per rank, and the output layer holds the same numbers packed already. The table of positions is small
// and copied.
void Lowering::lower_embed(const Op& op) {
  const BufferId out = plan_.acquire(Rows::Tokens, row_bytes(op.output, sizeof(float)));
  const RankFile::Entry& table = entry(op.weight);
  const size_t token_bytes =
      row_bytes(op.output, size_of(table.dtype)) / static_cast<size_t>(info(op.output).ways);
  const BufferId gathered = plan_.acquire(Rows::Tokens, token_bytes);
  const std::byte* positions = nullptr;
  if (op.bias != kNone) {
    const RankFile::Entry& places = entry(op.bias);
    positions = model_.tables.emplace_back(places.data, places.data + places.bytes).data();
    model_.weights.release(places);
  }
  std::vector<int32_t> row_numbers(static_cast<size_t>(options_.max_tokens));
  std::iota(row_numbers.begin(), row_numbers.end(), 0);
  CpuModel& model = model_;
  emit("embed", [&model, &table, out, gathered, token_bytes, positions, row_numbers,
                 shape = info(op.output)](const StepContext& context) {
    std::byte* rows = model.buffer(gathered);
    for (const int32_t token : context.batch.tokens) {
      model.weights.read(table, static_cast<size_t>(token) * token_bytes, rows, token_bytes);
      rows += token_bytes;
    }
    for (int way = 0; way < shape.ways; ++way) {
      float* x = reinterpret_cast<float*>(model.buffer(out)) + way * context.tokens() * shape.width;
      embed(row_numbers.data(), context.batch.positions.data(), model.buffer(gathered), positions, x,
            context.tokens(), shape.width, table.dtype);
    }
  });
  plan_.release(gathered);
  value(op.output).base = out;
}

void Lowering::make_dense(TensorId x) {
  add_up(x);
  const BufferId from = value(x).base;
  const BufferId to = plan_.acquire(info(x).rows, row_bytes(x, element()));
  CpuModel& model = model_;
  emit("convert", [&model, from, to, shape = info(x), dtype = dtype_](const StepContext& context) {
    const int64_t elements = context.rows(shape.rows) * shape.ways * shape.width;
    convert(model.buffer(from), DType::Float32, model.buffer(to), dtype, elements);
  });
  value(x).dense = to;
}

void Lowering::make_quantised(TensorId x) {
  if (value(x).dense == kNone) add_up(x);
  const bool dense = value(x).dense != kNone;
  const BufferId from = dense ? value(x).dense : value(x).base;
  const BufferId to = plan_.acquire(info(x).rows, input_bytes(x));
  CpuModel& model = model_;
  emit("quantise", [&model, from, to, shape = info(x),
                    dtype = dense ? dtype_ : DType::Float32](const StepContext& context) {
    quantise_rows(model.buffer(from), dtype, model.buffer(to), context.rows(shape.rows) * shape.ways,
                  shape.width);
  });
  value(x).quantised = to;
}

BufferId Lowering::linear_input(TensorId x) {
  if (int8_) {
    if (value(x).quantised == kNone) make_quantised(x);
    return value(x).quantised;
  }
  if (value(x).dense == kNone) make_dense(x);
  return value(x).dense;
}

std::vector<PackedLinear*> Lowering::pack(const Op& op, DType output) {
  const WeightSpec& spec = graph_.weights[static_cast<size_t>(op.weight)];
  const RankFile::Entry& weight = entry(op.weight);
  const int64_t ways = weight.shape[0], n = weight.shape[1], k = weight.shape[2];
  const auto* bias = op.bias == kNone ? nullptr : reinterpret_cast<const float*>(entry(op.bias).data);
  const auto* scales =
      int8_ ? reinterpret_cast<const float*>(model_.weights.get(int8_scales_name(spec.name), {ways, n}).data)
            : nullptr;
  const int64_t max_rows = info(op.output).rows == Rows::Tokens ? options_.max_tokens : options_.max_rows;
  const auto matrix_bytes = static_cast<size_t>(n * k) * size_of(weight.dtype);
  std::vector<PackedLinear*> linears;
  for (int64_t way = 0; way < ways; ++way) {
    model_.linears.push_back(std::make_unique<PackedLinear>(
        weight.data + static_cast<size_t>(way) * matrix_bytes, weight.dtype,
        bias == nullptr ? nullptr : bias + way * n, n, k, int8_ ? DType::Int8 : dtype_, output, max_rows,
        scales == nullptr ? nullptr : scales + way * n));
    linears.push_back(model_.linears.back().get());
  }
  model_.weights.release(weight);
  return linears;
}

void Lowering::lower_linear(const Op& op) {
  const TensorId x = op.inputs[0];
  const BufferId in = linear_input(x);
  const RankFile::Entry& weight = entry(op.weight);
  const TensorInfo shape = info(op.output);
  const int64_t k = info(x).width, n = weight.shape[1];
  KRAKEN_CHECK(in != kNone && weight.shape[0] == shape.ways && weight.shape[2] == k);

  // What feeds an attention or an activation is in the compute dtype; all else is part of a float32 sum.
  const Op* attention = attention_of(op.output);
  const bool stream = op.activation == Activation::None && attention == nullptr;
  const DType output = stream ? DType::Float32 : dtype_;
  const std::vector<PackedLinear*> linears = pack(op, output);
  const size_t out_element = size_of(output);
  const BufferId out =
      plan_.acquire(shape.rows, static_cast<size_t>(shape.ways) * static_cast<size_t>(n) * out_element);
  CpuModel& model = model_;
  const auto last_dot = op.name.rfind('.');
  const std::string kind =
      op.name.find(".attn.") != std::string::npos || op.name.find(".mlp.") != std::string::npos
          ? op.name.substr(op.name.rfind('.', last_dot - 1) + 1)
          : op.name;
  // Where an attention's output is wanted of a few rows only, so are its queries.
  const int64_t queries =
      attention != nullptr && attention->last_tokens ? int64_t{graph_.heads} * graph_.config.head_dim : 0;
  emit_product(kind, queries > 0 ? Rows::Wanted : shape.rows,
               [&model, linears, in, out, n, out_element, queries, rows_kind = shape.rows,
                in_row = input_row_bytes(static_cast<int>(k))](const StepContext& context) {
                 const int64_t rows = context.rows(rows_kind);
                 if (rows == 0) return;
                 for (size_t way = 0; way < linears.size(); ++way) {
                   linears[way]->run_wanted(
                       model.buffer(in) + way * static_cast<size_t>(rows) * in_row,
                       model.buffer(out) + way * static_cast<size_t>(rows * n) * out_element, rows, queries,
                       context.batch.wanted_rows);
                 }
               });
  use(x);

  Value result;
  if (stream) {
    if (op.residual != kNone) {
      result = share(op.residual);
      use(op.residual);
    }
    result.addends.push_back(out);
  } else if (op.activation == Activation::SwiGlu) {
    const BufferId gated = plan_.acquire(shape.rows, row_bytes(op.output, element()));
    emit("activation", [&model, out, gated, shape, dtype = dtype_](const StepContext& context) {
      swiglu(model.buffer(out), model.buffer(gated), context.rows(shape.rows) * shape.ways, shape.width,
             dtype);
    });
    plan_.release(out);
    result.dense = gated;
  } else {
    if (op.activation != Activation::None) {
      emit("activation",
           [&model, out, shape, kind = op.activation, dtype = dtype_](const StepContext& context) {
             gelu(kind, model.buffer(out), context.rows(shape.rows) * shape.ways, shape.width, dtype);
           });
    }
    result.dense = out;
  }
  value(op.output) = std::move(result);
}

void Lowering::lower_attention(const Op& op) {
  const TensorId x = op.inputs[0];
  const BufferId qkv = value(x).dense;
  const BufferId out = plan_.acquire(info(op.output).rows, row_bytes(op.output, element()));
  CpuModel& model = model_;
  const TensorInfo shape = info(x);
  if (cos_ != nullptr) {
    emit("rotary", [&model, qkv, shape, heads = graph_.heads + graph_.kv_heads, config = graph_.config,
                    cos = cos_, sin = sin_, dtype = dtype_,
                    element_bytes = element()](const StepContext& context) {
      for (int way = 0; way < shape.ways; ++way) {
        rotate(model.buffer(qkv) + static_cast<size_t>(way * context.tokens() * shape.width) * element_bytes,
               context.batch.positions.data(), cos, sin, context.tokens(), shape.width, heads,
               config.head_dim, config.rotary.dims, config.rotary.interleaved, dtype);
      }
    });
  }
  std::byte* cache = kv_cache_ + static_cast<size_t>(op.layer) * kv_layer_bytes_;
  const size_t stride = kv_layer_bytes_ / static_cast<size_t>(options_.kv_blocks);
  emit("attention", [&model, &attention = attention_, qkv, out, cache, stride,
                     last_tokens = op.last_tokens](const StepContext& context) {
    AttentionCall call;
    call.qkv = model.buffer(qkv);
    call.tokens = context.tokens();
    call.sequences = context.batch.sequences;
    call.cache = cache;
    call.block_stride = stride;
    call.all_rows = !last_tokens;
    if (last_tokens) call.wanted = context.batch.wanted_rows;
    call.out = model.buffer(out);
    attention.run(call);
  });
  use(x);
  value(op.output).dense = out;
}

void Lowering::lower_head(const Op& op) {
  const TensorId x = op.inputs[0];
  const BufferId in = linear_input(x);
  const int64_t n = entry(op.weight).shape[1];
  PackedLinear* linear = pack(op, DType::Float32).front();
  CpuModel& model = model_;
  if (graph_.ranks == 1) {
    emit_product("head", Rows::Wanted, [&model, linear, in](const StepContext& context) {
      if (context.wanted() > 0) linear->run(model.buffer(in), context.logits, context.wanted());
    });
  } else {
    const BufferId part = plan_.acquire(Rows::Wanted, static_cast<size_t>(n) * sizeof(float));
    emit_product("head", Rows::Wanted, [&model, linear, in, part](const StepContext& context) {
      if (context.wanted() > 0) linear->run(model.buffer(in), model.buffer(part), context.wanted());
    });
    emit("gather_logits", [&model, part, n, begin = graph_.vocab_begin,
                           total = graph_.config.vocab](const StepContext& context) {
      model.communicator.gather_columns(reinterpret_cast<const float*>(model.buffer(part)), context.wanted(),
                                        n, begin, context.logits, total);
    });
    plan_.release(part);
  }
  use(x);
}

}  // namespace kraken::cpu
