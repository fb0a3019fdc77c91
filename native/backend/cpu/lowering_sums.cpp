// Lowering of residual sums, norms and exchanges: where the deferred adds happen.
#include <algorithm>
#include <memory>
#include <utility>

#include "backend/cpu/kernels.h"
#include "backend/cpu/lowering.h"
#include "base/error.h"

namespace kraken::cpu {

// Where the sum is stored: over a GEMM's output or over the base when nothing else needs it, else in a new
// buffer.
BufferId Lowering::sum_target(const Value& value, TensorId id) {
  for (const BufferId addend : value.addends) {
    if (plan_.exclusive(addend)) return addend;
  }
  if (value.base != kNone && plan_.exclusive(value.base)) return value.base;
  return plan_.acquire(info(id).rows, row_bytes(id, sizeof(float)));
}

void Lowering::emit_norm(TensorId x, bool keep_sum, const NormTarget& target) {
  Value& sum = value(x);
  const TensorInfo shape = info(x);
  const bool store = keep_sum && !sum.summed();
  const BufferId stored = store ? sum_target(sum, x) : kNone;

  BufferId out = kNone;
  const float *weight = nullptr, *bias = nullptr;
  if (target.op != nullptr) {
    out = plan_.acquire(info(target.op->output).rows, input_bytes(target.op->output));
    weight = vector(target.op->weight);
    bias = vector(target.op->bias);
  }

  // [this] would dangle: steps outlive the lowering. They capture the model and plain numbers.
  CpuModel& model = model_;
  const NormConfig norm = graph_.config.norm;
  // Of a step; kept for their memory.
  struct Scratch {
    std::vector<const float*> float32;
    std::vector<const uint16_t*> bfloat16;
  };
  auto addends = std::make_shared<Scratch>();
  addends->float32.reserve(16);
  addends->bfloat16.reserve(16);
  emit(target.join != kNone ? "join_norm"
       : out != kNone       ? "norm"
                            : "add",
       [&model, value = sum, shape, stored, out, weight, bias, norm, addends,
        out_row = input_row_bytes(shape.width), dtype = int8_ ? DType::Int8 : dtype_, join = target.join,
        join_self = target.join_self](const StepContext& context) {
         const auto wait = [&model](int exchange) {
           const auto index = static_cast<size_t>(exchange);
           model.exchanged[index] = model.communicator.wait(model.tickets[index]);
         };
         for (const int exchange : value.exchanges) wait(exchange);
         if (join != kNone) wait(join);
         const int64_t rows = context.rows(shape.rows);
         const int64_t elements = rows * shape.width;
         const auto way_of = [&](BufferId id, int way) {
           return id == kNone ? nullptr : reinterpret_cast<float*>(model.buffer(id)) + way * elements;
         };
         for (int way = 0; way < shape.ways; ++way) {
           auto& [float32, bfloat16] = *addends;
           float32.clear();
           bfloat16.clear();
           for (const BufferId id : value.addends) float32.push_back(way_of(id, way));
           for (const int exchange : value.exchanges) {
             const Addends& sum = model.exchanged[static_cast<size_t>(exchange)].sum;
             float32.insert(float32.end(), sum.float32.begin(), sum.float32.end());
             bfloat16.insert(bfloat16.end(), sum.bfloat16.begin(), sum.bfloat16.end());
           }
           NormPass pass;
           pass.rows = rows;
           pass.width = shape.width;
           pass.base = way_of(value.base, way);
           pass.addends = {float32, bfloat16};
           pass.sum = way_of(stored, way);
           if (join != kNone) {
             pass.join = model.exchanged[static_cast<size_t>(join)].join;
             pass.join_self = way_of(join_self, way);
           }
           pass.kind = norm.kind;
           pass.eps = norm.eps;
           pass.weight = weight == nullptr ? nullptr : weight + way * shape.width;
           pass.bias = bias == nullptr ? nullptr : bias + way * shape.width;
           pass.out = out == kNone ? nullptr : model.buffer(out) + static_cast<size_t>(way * rows) * out_row;
           pass.dtype = dtype;
           if (rows > 0) norm_pass(pass);
         }
       });

  for (const int exchange : sum.exchanges) plan_.waited(exchange);
  if (target.join != kNone) plan_.waited(target.join);
  if (store) {
    plan_.retain(stored);
    const bool fresh = stored != sum.base && std::ranges::find(sum.addends, stored) == sum.addends.end();
    release(sum);
    if (fresh) plan_.release(stored);  // acquire() counted one, the value holds the other
    value(x).base = stored;
  }
  if (target.op != nullptr)
    (int8_ ? value(target.op->output).quantised : value(target.op->output).dense) = out;
}

void Lowering::add_up(TensorId x) {
  if (!value(x).summed()) emit_norm(x, true, {});
}

int Lowering::start_exchange(TensorId send) {
  const Value& from = value(send);
  if (from.base != kNone || !from.exchanges.empty()) add_up(send);
  const Value& ready = value(send);
  std::vector<BufferId> buffers = ready.addends;
  if (ready.base != kNone) buffers.push_back(ready.base);
  const int exchange = started_++;
  for (const BufferId id : buffers) plan_.send(id, exchange);

  CpuModel& model = model_;
  const TensorInfo shape = info(send);
  auto parts = std::make_shared<std::vector<const float*>>();
  parts->reserve(buffers.size() * static_cast<size_t>(shape.ways));
  emit("start", [&model, shape, buffers, exchange, parts](const StepContext& context) {
    const int64_t rows = context.rows(shape.rows);
    parts->clear();
    for (int way = 0; way < shape.ways; ++way) {
      for (const BufferId id : buffers) {
        parts->push_back(reinterpret_cast<const float*>(model.buffer(id)) + way * rows * shape.width);
      }
    }
    model.tickets[static_cast<size_t>(exchange)] = model.communicator.start(*parts, rows, shape.width);
  });
  return exchange;
}

void Lowering::lower_norm(const Op& op) {
  const TensorId x = op.inputs[0];
  emit_norm(x, uses_[static_cast<size_t>(x)] > 1, {.op = &op});
  use(x);
}

void Lowering::lower_start_norm(const Op& op) {
  const TensorId send = op.inputs[0], x = op.inputs[1];
  int exchange = kNone;
  if (send == x) {  // one pass adds up and normalises; what it stored is sent
    emit_norm(x, true, {.op = &op});
    exchange = start_exchange(send);
  } else {
    exchange = start_exchange(send);
    emit_norm(x, uses_[static_cast<size_t>(x)] > 1, {.op = &op});
  }
  exchange_of_[static_cast<size_t>(op.exchange)] = exchange;
  use(send);
  use(x);
}

void Lowering::lower_join_norm(const Op& op) {
  const TensorId a = op.inputs[0], x = op.inputs[1];
  KRAKEN_CHECK(value(x).summed());  // it was sent
  emit_norm(a, uses_[static_cast<size_t>(a)] > 1,
            {.op = &op, .join = exchange_of_[static_cast<size_t>(op.exchange)], .join_self = value(x).base});
  use(a);
  use(x);
}

void Lowering::lower_join_add(const Op& op) {
  Value out = share(op.inputs[0]);
  out.exchanges.push_back(exchange_of_[static_cast<size_t>(op.exchange)]);
  use(op.inputs[0]);
  value(op.output) = std::move(out);
}

void Lowering::lower_all_reduce(const Op& op) {
  const int exchange = start_exchange(op.inputs[0]);
  use(op.inputs[0]);
  Value out;
  if (op.residual != kNone) {
    out = share(op.residual);
    use(op.residual);
  }
  out.exchanges.push_back(exchange);
  value(op.output) = std::move(out);
}

void Lowering::lower_last_tokens(const Op& op) {
  const TensorId x = op.inputs[0];
  if (!value(x).exchanges.empty()) add_up(x);
  CpuModel& model = model_;
  const TensorInfo shape = info(x);
  const auto gather = [&](BufferId from, size_t row_bytes) {
    const BufferId to = plan_.acquire(Rows::Wanted, static_cast<size_t>(shape.ways) * row_bytes);
    const auto bytes = static_cast<int64_t>(row_bytes);
    emit("gather", [&model, from, to, bytes, ways = shape.ways](const StepContext& context) {
      for (int way = 0; way < ways; ++way) {
        gather_rows(model.buffer(from) + way * context.tokens() * bytes, context.batch.wanted_rows.data(),
                    model.buffer(to) + way * context.wanted() * bytes, context.wanted(), bytes);
      }
    });
    return to;
  };
  const Value from = value(x);
  Value out;
  const size_t dense_row = static_cast<size_t>(shape.width) * element(),
               sum_row = static_cast<size_t>(shape.width) * sizeof(float);
  if (from.dense != kNone) out.dense = gather(from.dense, dense_row);
  if (from.quantised != kNone) out.quantised = gather(from.quantised, input_row_bytes(shape.width));
  if (from.base != kNone) out.base = gather(from.base, sum_row);
  for (const BufferId id : from.addends) out.addends.push_back(gather(id, sum_row));
  value(op.output) = std::move(out);
  use(x);
}

}  // namespace kraken::cpu
