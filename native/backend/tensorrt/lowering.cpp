#include "backend/tensorrt/lowering.h"

#include <algorithm>
#include <string>
#include <vector>

#include "backend/tensorrt/kraken_interface.h"
#include "backend/tensorrt/layers.h"
#include "backend/tensorrt/plugin_layers.h"
#include "base/error.h"

namespace kraken::tensorrt {
namespace {

using nvinfer1::ActivationType;
using nvinfer1::DataType;

class Lowering {
 public:
  Lowering(const Graph& graph, const WeightReader& reader, const LoweringOptions& options,
           nvinfer1::INetworkDefinition& network, RuntimeInterface& runtime)
      : graph_(graph),
        options_(options),
        layers_(network),
        type_(data_type(options.dtype)),
        store_(reader),
        runtime_(runtime),
        tensors_(graph.tensors.size(), nullptr) {}

  WeightStore run() {
    runtime_.add_inputs(layers_, graph_);
    for (const Op& op : graph_.ops) {
      Tensor made = lower(op);
      check(op, made);
      tensors_[static_cast<size_t>(op.output)] = made;
    }
    Tensor logits = runtime_.logits(layers_, graph_, tensors_[static_cast<size_t>(graph_.logits)]);
    logits->setName(kLogits);
    layers_.network().markOutput(*logits);
    return std::move(store_);
  }

 private:
  Tensor lower(const Op& op) {
    switch (op.kind) {
      case OpKind::Embed:
        return lower_embed(op);
      case OpKind::Norm:
        return lower_norm(op, tensor(op.inputs[0]));
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
        if (runtime_.wanted_rows() == nullptr) return tensor(op.inputs[0]);
        return layers_.gather(op.name, tensor(op.inputs[0]), runtime_.wanted_rows(), 1);
      case OpKind::LogitsHead:
        return lower_head(op);
    }
    internal_error("op kind out of range");
  }

  // What the Graph says of an op's output holds of TensorRT's.
  void check(const Op& op, Tensor made) const {
    const TensorInfo& info = graph_.tensors[static_cast<size_t>(op.output)];
    const bool head = op.kind == OpKind::LogitsHead;
    const std::vector<int64_t> expected =
        head ? std::vector<int64_t>{-1, graph_.vocab_size} : std::vector<int64_t>{info.ways, -1, info.width};
    const nvinfer1::Dims found = made->getDimensions();
    const bool same = found.nbDims == static_cast<int32_t>(expected.size()) &&
                      std::equal(expected.begin(), expected.end(), found.d);
    if (same && made->getType() == (head ? DataType::kFLOAT : type_)) return;
    internal_error("TensorRT makes " + describe(made) + " of " + op.name + "; its log may say why");
  }

  // --- ops

  Tensor lower_embed(const Op& op) {
    const auto rows = [&](WeightId id, Tensor indices) {
      const WeightSpec& table = spec(id);
      return layers_.gather(table.name + "/rows", weight(id, table.shape, options_.dtype), indices, 0);
    };
    Tensor x = rows(op.weight, runtime_.ids());  // [T,d]
    if (op.bias != kNone) x = layers_.sum(op.name + "/positions", x, rows(op.bias, runtime_.positions()));
    const int ways = info(op.output).ways;
    if (ways == 1) return layers_.reshape(op.name, x, {1, -1, info(op.output).width});
    x = layers_.reshape(op.name + "/way", x, {1, -1, info(op.output).width});
    // The same for every way.
    Tensor zeros = layers_.constant(op.name + "/zeros", {ways, 1, 1},
                                    store_.filled(static_cast<size_t>(ways), 0.0f, options_.dtype));
    return layers_.sum(op.name, x, zeros);
  }

  // Norms compute in float32, as the plugins do: TensorRT fuses the casts.
  Tensor lower_norm(const Op& op, Tensor x) {
    const NormConfig& norm = graph_.config.norm;
    const int64_t ways = info(op.output).ways, width = info(op.output).width;
    Tensor wide = layers_.cast(op.name + "/float", x, DataType::kFLOAT);
    const bool casts = wide != x;
    Tensor scale = weight(op.weight, {ways, 1, width}, DType::Float32);
    Tensor bias = op.bias == kNone ? nullptr : weight(op.bias, {ways, 1, width}, DType::Float32);
    const std::string name = casts ? op.name + "/norm" : op.name;
    Tensor y = norm.kind == NormKind::Rms ? rms_norm(name, wide, scale, bias, norm.eps)
                                          : layer_norm(name, wide, scale, bias, ways, width, norm.eps);
    return casts ? layers_.cast(op.name, y, type_) : y;
  }

  // INormalization takes the same scale for all of its input, so the weights of several ways come after it.
  Tensor layer_norm(const std::string& name, Tensor x, Tensor scale, Tensor bias, int64_t ways, int64_t width,
                    float eps) {
    const auto filled = [&](const char* what, float value) {
      return layers_.constant(name + what, {1, 1, width},
                              store_.filled(static_cast<size_t>(width), value, DType::Float32));
    };
    if (ways == 1)
      return layers_.layer_norm(name, x, scale, bias == nullptr ? filled("/zeros", 0.0f) : bias, eps);
    Tensor y = layers_.layer_norm(name + "/unit", x, filled("/ones", 1.0f), filled("/zeros", 0.0f), eps);
    return affine(name, y, scale, bias);
  }

  Tensor rms_norm(const std::string& name, Tensor x, Tensor scale, Tensor bias, float eps) {
    Tensor square = layers_.reduce(name + "/mean", nvinfer1::ReduceOperation::kAVG,
                                   layers_.product(name + "/square", x, x), 2);
    Tensor epsilon = layers_.constant(name + "/eps", {1, 1, 1}, store_.filled(1, eps, DType::Float32));
    Tensor root = layers_.unary(name + "/root", nvinfer1::UnaryOperation::kSQRT,
                                layers_.sum(name + "/mean_eps", square, epsilon));
    Tensor y = layers_.elementwise(name + "/unit", nvinfer1::ElementWiseOperation::kDIV, x, root);
    return affine(name, y, scale, bias);
  }

  Tensor affine(const std::string& name, Tensor x, Tensor scale, Tensor bias) {
    if (bias == nullptr) return layers_.product(name, x, scale);
    return layers_.sum(name, layers_.product(name + "/scaled", x, scale), bias);
  }

  Tensor lower_linear(const Op& op) {
    const int64_t ways = spec(op.weight).shape[0], rows = spec(op.weight).shape[1];
    const bool activates = op.activation != Activation::None;
    const bool biased = op.bias != kNone, residual = op.residual != kNone;
    // The last layer has the op's name.
    const std::string name = biased || activates || residual ? op.name + "/product" : op.name;
    Tensor y = layers_.product_with_transposed(type_ == DataType::kHALF ? name + "/float" : name,
                                               tensor(op.inputs[0]),
                                               weight(op.weight, spec(op.weight).shape, options_.dtype));
    y = layers_.cast(name, y, type_);
    if (biased) {
      Tensor bias = weight(op.bias, {ways, 1, rows}, options_.dtype);
      y = layers_.sum(activates || residual ? op.name + "/biased" : op.name, y, bias);
    }
    if (activates) y = activate(residual ? op.name + "/activated" : op.name, op.activation, y, rows);
    if (residual) y = layers_.sum(op.name, y, tensor(op.residual));
    return y;
  }

  Tensor activate(const std::string& name, Activation activation, Tensor x, int64_t width) {
    switch (activation) {
      case Activation::None:
        return x;
      case Activation::GeluTanh:
        return layers_.activation(name, ActivationType::kGELU_TANH, x);
      case Activation::GeluErf:
        return layers_.activation(name, ActivationType::kGELU_ERF, x);
      case Activation::SwiGlu: {  // x holds the gate and what it gates, one product for both
        Tensor pair = layers_.reshape(name + "/pair", x, {0, 0, 2, width / 2});
        const auto half = [&](const char* what, int32_t index) {
          Tensor which = layers_.constant(name + what + "/index", {}, store_.integer(index));
          return layers_.gather(name + what, pair, which, 2);
        };
        Tensor gate = half("/gate", 0);
        Tensor silu = layers_.product(name + "/silu", gate,
                                      layers_.activation(name + "/sigmoid", ActivationType::kSIGMOID, gate));
        return layers_.product(name, silu, half("/up", 1));
      }
    }
    internal_error("activation out of range");
  }

  Tensor lower_attention(const Op& op) {
    return runtime_.attention(layers_, graph_, op, tensor(op.inputs[0]));
  }

  // Over ways first, here; then over ranks.
  Tensor lower_all_reduce(const Op& op) {
    Tensor x = tensor(op.inputs[0]);
    const bool over_ways = info(op.inputs[0]).ways > 1, residual = op.residual != kNone;
    const bool over_ranks = graph_.communication && graph_.ranks > 1;
    if (over_ways) {
      x = layers_.reduce(over_ranks || residual ? op.name + "/ways" : op.name,
                         nvinfer1::ReduceOperation::kSUM, x, 0);
    }
    if (over_ranks)
      x = add_plugin(layers_.network(), residual ? op.name + "/ranks" : op.name, "AllReduce", {}, {x});
    return residual ? layers_.sum(op.name, x, tensor(op.residual)) : x;
  }

  // Without communication an exchange is the sum over this rank's own ways: wrong on several ranks, and all
  // other work stays as it was, as a benchmark's bound must have it.
  Tensor lower_start_norm(const Op& op) {
    if (!graph_.communication) return lower_norm(op, tensor(op.inputs[1]));
    std::vector<PluginField> fields = norm_fields(op);
    fields.push_back({"joined_by_norm", ended_by_norm(op.exchange) ? 1 : 0});
    return plugin(op, "StartNorm", fields, norm_inputs(op));
  }

  Tensor lower_join_norm(const Op& op) {
    if (!graph_.communication) return lower_norm(op, join_own_ways(op));
    return plugin(op, "JoinNorm", norm_fields(op), norm_inputs(op));
  }

  Tensor lower_join_add(const Op& op) {
    if (!graph_.communication) return layers_.sum(op.name, tensor(op.inputs[0]), tensor(sent(op.exchange)));
    return plugin(op, "JoinAdd", {{"exchange", op.exchange}, {"width", info(op.output).width}},
                  {tensor(op.inputs[0])});
  }

  // a + (S − x); of a single way, S is x.
  Tensor join_own_ways(const Op& op) {
    Tensor a = tensor(op.inputs[0]), x = tensor(op.inputs[1]);
    if (info(op.output).ways == 1) return a;
    Tensor own =
        layers_.reduce(op.name + "/ways", nvinfer1::ReduceOperation::kSUM, tensor(sent(op.exchange)), 0);
    Tensor others = layers_.elementwise(op.name + "/others", nvinfer1::ElementWiseOperation::kSUB, own, x);
    return layers_.sum(op.name + "/joined", a, others);
  }

  Tensor lower_head(const Op& op) {
    Tensor y = layers_.product_with_transposed(op.name + "/product", tensor(op.inputs[0]),
                                               weight(op.weight, spec(op.weight).shape, options_.dtype));
    y = layers_.cast(op.name + "/float", y, DataType::kFLOAT);
    if (op.bias != kNone) {
      y = layers_.sum(op.name + "/biased", y, weight(op.bias, {1, 1, graph_.vocab_size}, DType::Float32));
    }
    return layers_.reshape(op.name, y, {-1, graph_.vocab_size});
  }

  // --- helpers

  std::vector<PluginField> norm_fields(const Op& op) const {
    const NormConfig& norm = graph_.config.norm;
    return {{"exchange", op.exchange},          {"ways", info(op.output).ways},
            {"width", info(op.output).width},   {"rms", norm.kind == NormKind::Rms ? 1 : 0},
            {"bias", op.bias == kNone ? 0 : 1}, {"epsilon", norm.eps}};
  }

  std::vector<Tensor> norm_inputs(const Op& op) {
    std::vector<Tensor> inputs = {tensor(op.inputs[0]), tensor(op.inputs[1])};
    for (const WeightId id : {op.weight, op.bias}) {
      if (id != kNone) inputs.push_back(weight(id, spec(id).shape, DType::Float32));
    }
    return inputs;
  }

  Tensor plugin(const Op& op, const char* name, const std::vector<PluginField>& fields,
                const std::vector<Tensor>& inputs) const {
    return add_plugin(layers_.network(), op.name, name, fields, inputs);
  }

  TensorId sent(int exchange) const {
    const auto start = std::ranges::find_if(graph_.ops, [exchange](const Op& op) {
      return op.kind == OpKind::StartNorm && op.exchange == exchange;
    });
    KRAKEN_CHECK(start != graph_.ops.end());
    return start->inputs[0];
  }

  bool ended_by_norm(int exchange) const {
    return std::ranges::any_of(graph_.ops, [exchange](const Op& op) {
      return op.kind == OpKind::JoinNorm && op.exchange == exchange;
    });
  }

  const TensorInfo& info(TensorId id) const { return graph_.tensors[static_cast<size_t>(id)]; }
  const WeightSpec& spec(WeightId id) const { return graph_.weights[static_cast<size_t>(id)]; }
  Tensor tensor(TensorId id) const {
    Tensor made = tensors_[static_cast<size_t>(id)];
    if (made == nullptr) internal_error("the Graph reads " + info(id).name + " before it is made");
    return made;
  }
  Tensor weight(WeightId id, const std::vector<int64_t>& shape, DType dtype) {
    return layers_.constant(spec(id).name, shape, store_.load(spec(id), dtype));
  }

  const Graph& graph_;
  const LoweringOptions& options_;
  Layers layers_;
  DataType type_;
  WeightStore store_;
  RuntimeInterface& runtime_;
  std::vector<Tensor> tensors_;
};

void check_limit(const char* what, int most, int found) {
  if (found <= most) return;
  throw Error("ERR_BACKEND_UNAVAILABLE", std::string("the tensorrt backend takes ") + what + " at most " +
                                             std::to_string(most) + ", this model has " +
                                             std::to_string(found) + "; use backend \"cpu\"");
}

}  // namespace

WeightStore lower(const Graph& graph, const WeightReader& weights, const LoweringOptions& options,
                  nvinfer1::INetworkDefinition& network) {
  KRAKEN_CHECK(options.max_context > 0 && options.block_tokens > 0);
  check_limit("heads of", kMaxHeadDim, graph.config.head_dim);
  KrakenInterface runtime(options);
  return lower(graph, weights, options, network, runtime);
}

WeightStore lower(const Graph& graph, const WeightReader& weights, const LoweringOptions& options,
                  nvinfer1::INetworkDefinition& network, RuntimeInterface& runtime) {
  check_limit("a width of", kMaxWidth, graph.config.width);
  return Lowering(graph, weights, options, network, runtime).run();
}

}  // namespace kraken::tensorrt
