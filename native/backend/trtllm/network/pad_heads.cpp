#include "backend/trtllm/network/pad_heads.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace kraken::trtllm {
namespace {

// lib/trtllm/config.ts has the same.
constexpr std::array kHeadDims = {32, 48, 64, 80, 96, 104, 128, 160, 192, 256};

size_t product(const std::vector<int64_t>& sizes, size_t from) {
  size_t result = 1;
  for (size_t i = from; i < sizes.size(); ++i) result *= static_cast<size_t>(sizes[i]);
  return result;
}

}  // namespace

int padded_head_dim(int head_dim) {
  const auto found = std::ranges::lower_bound(kHeadDims, head_dim);
  if (found != kHeadDims.end()) return *found;
  throw Error("ERR_OPTION", "TensorRT-LLM has attention kernels for heads of up to " +
                                std::to_string(kHeadDims.back()) + ", this model's have " +
                                std::to_string(head_dim));
}

Graph pad_heads(const Graph& graph, int head_dim) {
  const int true_dim = graph.config.head_dim;
  KRAKEN_CHECK(head_dim >= true_dim);
  Graph padded = graph;
  if (head_dim == true_dim) return padded;
  padded.config.head_dim = head_dim;
  const auto widen = [&](int64_t size) { return size / true_dim * head_dim; };
  std::vector<bool> attended(graph.tensors.size()), fed(graph.tensors.size());
  for (const Op& op : graph.ops) {
    if (op.kind != OpKind::Attention) continue;
    for (const TensorId id : {op.inputs[0], op.output}) {
      int& width = padded.tensors[static_cast<size_t>(id)].width;
      width = static_cast<int>(widen(width));
    }
    fed[static_cast<size_t>(op.inputs[0])] = true;
    attended[static_cast<size_t>(op.output)] = true;
  }
  for (const Op& op : graph.ops) {
    const auto reads = [&](TensorId id) { return attended[static_cast<size_t>(id)]; };
    // Rows that nobody attended to are taken from the rest in between: the same width.
    if (op.kind == OpKind::LastTokens && reads(op.inputs[0])) {
      padded.tensors[static_cast<size_t>(op.output)].width =
          padded.tensors[static_cast<size_t>(op.inputs[0])].width;
      attended[static_cast<size_t>(op.output)] = true;
    }
    if (op.kind != OpKind::Linear) continue;
    const auto shape = [&](WeightId id) -> std::vector<int64_t>& {
      return padded.weights[static_cast<size_t>(id)].shape;
    };
    if (fed[static_cast<size_t>(op.output)]) {  // rows: queries, keys and values
      shape(op.weight)[1] = widen(shape(op.weight)[1]);
      if (op.bias != kNone) shape(op.bias).back() = widen(shape(op.bias).back());
    }
    if (reads(op.inputs[0])) shape(op.weight).back() = widen(shape(op.weight).back());
  }
  return padded;
}

PaddedWeights::PaddedWeights(const Graph& graph, const Graph& padded, const tensorrt::WeightReader& reader)
    : graph_(graph), padded_(padded), reader_(reader) {}

PaddedWeights::Stored PaddedWeights::read(const WeightSpec& weight) const {
  const auto by_name = [&](const WeightSpec& other) { return other.name == weight.name; };
  const WeightSpec& original = *std::ranges::find_if(graph_.weights, by_name);
  const Stored stored = reader_.read(original);
  if (original.shape == weight.shape) return stored;
  // One dimension has grown, in groups of a head.
  size_t axis = 0;
  while (original.shape[axis] == weight.shape[axis]) ++axis;
  const size_t inner = product(weight.shape, axis + 1) * size_of(stored.dtype);
  const size_t from = static_cast<size_t>(graph_.config.head_dim) * inner,
               to = static_cast<size_t>(padded_.config.head_dim) * inner;
  const size_t groups = product(original.shape, 0) * size_of(stored.dtype) / from;
  std::vector<std::byte>& bytes = kept_.emplace_back(groups * to);  // zero in every type
  for (size_t group = 0; group < groups; ++group) {
    std::memcpy(bytes.data() + group * to, stored.data + group * from, from);
  }
  return {stored.dtype, bytes.data()};
}

}  // namespace kraken::trtllm
