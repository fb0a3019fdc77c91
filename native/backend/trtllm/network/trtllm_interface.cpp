#include "backend/trtllm/network/trtllm_interface.h"

#include <array>
#include <cmath>
#include <cstring>
#include <map>

#include "backend/tensorrt/plugin_layers.h"
#include "base/error.h"

namespace kraken::trtllm {
namespace {

using nvinfer1::DataType;
using tensorrt::Layers;
using tensorrt::Tensor;

constexpr int kPerfKnobs = 16;
// An engine of several profiles is asked for the first whose split is not below the step's tokens, or the one
// after the last split: a profile that is missing is an access out of bounds.
constexpr std::array<int64_t, 5> kProfileSplits = {64, 128, 256, 512, 1024};

Tensor input(const Layers& layers, const char* name, DataType type, const std::vector<int64_t>& sizes,
             const std::vector<const char*>& names) {
  Tensor made = layers.network().addInput(name, type, tensorrt::dims(sizes));
  if (made == nullptr)
    internal_error(std::string("TensorRT refuses the input ") + name + "; its log says why");
  for (size_t i = 0; i < names.size(); ++i) {
    if (sizes[i] < 0) made->setDimensionName(static_cast<int32_t>(i), names[i]);
  }
  return made;
}

}  // namespace

TrtLlmInterface::TrtLlmInterface(const NetworkLimits& limits, int true_head_dim, DType dtype)
    : limits_(limits), shape_{true_head_dim,      limits.max_input_len,    limits.tokens_per_block,
                              limits.max_seq_len, dtype != DType::Float32, dtype} {}

template <typename Number>
nvinfer1::Weights TrtLlmInterface::keep(std::vector<Number> numbers, DataType type) {
  std::vector<std::byte>& bytes = kept_.emplace_back(numbers.size() * sizeof(Number));
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return {type, bytes.data(), static_cast<int64_t>(numbers.size())};
}

Tensor TrtLlmInterface::indices(const Layers& layers, const std::string& name, std::vector<int32_t> values) {
  const auto count = static_cast<int64_t>(values.size());
  return layers.constant(name, {count}, keep(std::move(values), DataType::kINT32));
}

void TrtLlmInterface::add_inputs(const Layers& layers, const Graph& graph) {
  constexpr DataType kInt32 = DataType::kINT32, kInt64 = DataType::kINT64;
  int local_layers = 0;
  for (const Op& op : graph.ops) local_layers += op.kind == OpKind::Attention ? 1 : 0;
  const int64_t blocks = limits_.blocks();
  ids_ = input(layers, "input_ids", kInt32, {-1}, {"tokens"});
  positions_ = input(layers, "position_ids", kInt32, {-1}, {"tokens"});
  // Where prompts' logits are gathered, it expects a row for every token of the step, and its last_token_ids
  // still name the last ones alone. An inclusive running count of rows: 1 more than the index.
  if (!limits_.gathers_context_logits) {
    Tensor ends = input(layers, "last_token_ids", kInt32, {-1}, {"rows"});
    wanted_rows_ = layers.elementwise("wanted_rows", nvinfer1::ElementWiseOperation::kSUB, ends,
                                      indices(layers, "wanted_rows/one", {1}));
  }
  const auto sequences = [&](const char* name) { return input(layers, name, kInt32, {-1}, {"sequences"}); };
  before_lengths_ = {
      sequences("sequence_length"),
      sequences("host_past_key_value_lengths"),
      input(layers, "host_max_attention_window_sizes", kInt32, {local_layers}, {}),
      input(layers, "host_sink_token_length", kInt32, {1}, {}),
      sequences("context_lengths"),
      // Bound for as many sequences as there can be, not for those of the step.
      input(layers, "cache_indirection", kInt32, {-1, 1, -1}, {"slots", "", "window"}),
      sequences("host_request_types"),
      input(layers, "kv_cache_block_offsets", kInt32, {1, -1, 2, blocks}, {"", "sequences", "", ""}),
      input(layers, "host_kv_cache_block_offsets", kInt32, {1, -1, 2, blocks}, {"", "sequences", "", ""}),
      input(layers, "host_kv_cache_pool_pointers", kInt64, {1, 2}, {}),
      input(layers, "host_kv_cache_pool_mapping", kInt32, {local_layers, 2}, {}),
  };
  if (graph.config.rotary.dims > 0) add_rotary_tables(layers, graph);
  after_lengths_ = {
      sequences("host_context_lengths"),
      input(layers, "host_runtime_perf_knobs", kInt64, {kPerfKnobs}, {}),
      input(layers, "host_context_progress", kInt64, {1}, {}),
  };
}

// The plugin reads angles from tables: inverse frequencies [dims/2], and cosine and sine of every position.
void TrtLlmInterface::add_rotary_tables(const Layers& layers, const Graph& graph) {
  const RotaryConfig& rotary = graph.config.rotary;
  const int pairs = rotary.dims / 2;
  std::vector<float> frequencies, table;
  for (int i = 0; i < pairs; ++i) {
    frequencies.push_back(static_cast<float>(std::pow(rotary.base, -2.0 * i / rotary.dims)));
  }
  for (int position = 0; position < shape_.max_positions; ++position) {
    for (int i = 0; i < pairs; ++i) {
      const double angle = position * std::pow(rotary.base, -2.0 * i / rotary.dims);
      table.push_back(static_cast<float>(std::cos(angle)));
      table.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  const auto size = static_cast<int64_t>(table.size());
  rotary_ = {layers.constant("rotary_inv_freq", {pairs}, keep(std::move(frequencies), DataType::kFLOAT)),
             layers.constant("rotary_cos_sin", {1, size}, keep(std::move(table), DataType::kFLOAT))};
}

// All ways' heads are one call's: [W,T,(h+2·kv)·hd] becomes [T, queries of all ways, then keys, then values].
Tensor TrtLlmInterface::attention(const Layers& layers, const Graph& graph, const Op& op, Tensor qkv) {
  const int64_t ways = graph.ways, dim = graph.config.head_dim;
  const int64_t heads = graph.heads, kv_heads = graph.kv_heads, all = heads + 2 * kv_heads;
  const std::string& name = op.name;
  Tensor packed;  // [T, W·(h+2·kv)·hd]
  if (ways == 1) {
    packed = layers.reshape(name + "/packed", qkv, {-1, all * dim});
  } else {
    Tensor by_token = layers.transpose(name + "/by_token", qkv, {1, 0, 2});
    Tensor by_head = layers.reshape(name + "/by_head", by_token, {-1, ways * all, dim});
    std::vector<int32_t> order;
    const auto take = [&](int64_t begin, int64_t count) {
      for (int64_t way = 0; way < ways; ++way) {
        for (int64_t i = 0; i < count; ++i) order.push_back(static_cast<int32_t>(way * all + begin + i));
      }
    };
    take(0, heads);
    take(heads, kv_heads);
    take(heads + kv_heads, kv_heads);
    Tensor ordered = layers.gather(name + "/ordered", by_head, indices(layers, name + "/order", order), 1);
    packed = layers.reshape(name + "/packed", ordered, {-1, ways * all * dim});
  }
  const bool narrows = op.last_tokens && wanted_rows() != nullptr;
  Tensor attended = attend(layers, graph, op, packed);
  const std::string whole = narrows ? name + "/by_way" : name;
  Tensor by_way;
  if (ways == 1) {
    by_way = layers.reshape(whole, attended, {1, -1, heads * dim});
  } else {
    Tensor split = layers.reshape(name + "/split", attended, {-1, ways, heads * dim});
    by_way = layers.transpose(whole, split, {1, 0, 2});
  }
  return narrows ? layers.gather(name, by_way, wanted_rows(), 1) : by_way;
}

Tensor TrtLlmInterface::attend(const Layers& layers, const Graph& graph, const Op& op, Tensor packed) {
  std::vector<Tensor> inputs = {packed};
  for (const auto* part : {&before_lengths_, &rotary_, &after_lengths_}) {
    inputs.insert(inputs.end(), part->begin(), part->end());
  }
  return add_gpt_attention(layers.network(), op.name + "/gpt", attention_fields(graph, shape_, op.layer),
                           inputs);
}

// A sum over ranks, of which each has its columns and zeros: exact, and an exchange we have. TensorRT-LLM
// expects a width that the ranks divide, and masks what is beyond the vocabulary.
Tensor TrtLlmInterface::logits(const Layers& layers, const Graph& graph, Tensor columns) {
  const int64_t vocab = graph.config.vocab, ranks = graph.ranks;
  const int64_t padded = (vocab + ranks - 1) / ranks * ranks;
  if (ranks == 1) return columns;
  Tensor mine = placed(layers, "logits/mine", columns, graph.vocab_begin, padded);
  if (!graph.communication) return mine;
  return tensorrt::add_plugin(layers.network(), "logits/all", "AllReduce", {}, {mine});
}

Tensor TrtLlmInterface::placed(const Layers& layers, const std::string& name, Tensor x, int64_t begin,
                               int64_t width) {
  nvinfer1::INetworkDefinition& network = layers.network();
  Tensor shape = tensorrt::named(network.addShape(*x), name + "/shape");  // [2], int64
  Tensor rows = layers.gather(name + "/rows", shape, indices(layers, name + "/first", {0}), 0);
  Tensor wide = layers.constant(name + "/width", {1}, keep(std::vector<int64_t>{width}, DataType::kINT64));
  const std::array<Tensor, 2> parts = {rows, wide};
  Tensor size = tensorrt::named(network.addConcatenation(parts.data(), 2), name + "/size");
  nvinfer1::ISliceLayer* layer =
      network.addSlice(*x, tensorrt::dims({0, -begin}), tensorrt::dims({0, 0}), tensorrt::dims({1, 1}));
  if (layer != nullptr) {
    layer->setMode(nvinfer1::SampleMode::kFILL);
    layer->setInput(2, *size);
  }
  return tensorrt::named(layer, name);
}

void configure(nvinfer1::IBuilder& builder, const nvinfer1::INetworkDefinition& network,
               const NetworkLimits& limits, nvinfer1::IBuilderConfig& config) {
  config.setMaxAuxStreams(0);
  struct Range {
    int64_t least, usual, most;
  };
  const int64_t sequences = limits.max_batch_size;
  const Range batch = {1, (sequences + 1) / 2, sequences},
              window = {1, limits.max_seq_len, limits.max_seq_len};
  std::vector<Range> tokens;
  int64_t below = 0;
  for (const int64_t split : kProfileSplits) {
    if (split >= limits.max_num_tokens) break;
    tokens.push_back({below + 1, split, split});
    below = split;
  }
  tokens.push_back({below + 1, limits.max_num_tokens, limits.max_num_tokens});
  for (const Range& range : tokens) {
    const Range rows = {1, std::min(sequences, range.usual), sequences};
    const std::map<std::string, Range> dynamic = {
        {"input_ids", range}, {"position_ids", range}, {"last_token_ids", rows}};
    nvinfer1::IOptimizationProfile* profile = builder.createOptimizationProfile();
    for (int32_t i = 0; i < network.getNbInputs(); ++i) {
      const nvinfer1::ITensor& tensor = *network.getInput(i);
      const nvinfer1::Dims sizes = tensor.getDimensions();
      const auto found = dynamic.find(tensor.getName());
      const Range first = found == dynamic.end() ? batch : found->second;
      using Select = nvinfer1::OptProfileSelector;
      for (const auto& [select, pick] : {std::pair{Select::kMIN, &Range::least},
                                         {Select::kOPT, &Range::usual},
                                         {Select::kMAX, &Range::most}}) {
        nvinfer1::Dims chosen = sizes;
        bool seen = false;
        for (int32_t d = 0; d < sizes.nbDims; ++d) {
          if (sizes.d[d] < 0) chosen.d[d] = (std::exchange(seen, true) ? window : first).*pick;
        }
        if (!profile->setDimensions(tensor.getName(), select, chosen)) {
          internal_error(std::string("TensorRT refuses the profile of ") + tensor.getName());
        }
      }
    }
    if (config.addOptimizationProfile(profile) < 0)
      internal_error("TensorRT refuses an optimization profile");
  }
}

}  // namespace kraken::trtllm
