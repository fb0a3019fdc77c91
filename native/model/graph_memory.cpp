#include "model/graph_memory.h"

#include <algorithm>
#include <vector>

namespace kraken {

size_t activation_bytes(const Graph& graph, int64_t tokens, int64_t rows, size_t element_bytes) {
  std::vector<size_t> last_read(graph.tensors.size(), 0);
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const auto read = [&](TensorId id) {
      if (id != kNone) last_read[static_cast<size_t>(id)] = i;
    };
    for (const TensorId input : graph.ops[i].inputs) read(input);
    read(graph.ops[i].residual);
    read(graph.ops[i].output);
  }
  const auto bytes_of = [&](size_t id) {
    const TensorInfo& tensor = graph.tensors[id];
    const bool logits = static_cast<TensorId>(id) == graph.logits;
    const int64_t width = logits ? graph.vocab_size : tensor.width;
    const int64_t count = tensor.ways * (tensor.rows == Rows::Tokens ? tokens : rows) * width;
    return static_cast<size_t>(count) * (logits ? sizeof(float) : element_bytes);
  };
  std::vector<bool> made(graph.tensors.size(), false);
  size_t live = 0, most = 0;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const auto output = static_cast<size_t>(graph.ops[i].output);
    if (!made[output]) live += bytes_of(output);
    made[output] = true;
    most = std::max(most, live);
    for (size_t id = 0; id < made.size(); ++id) {
      if (!made[id] || last_read[id] != i) continue;
      live -= bytes_of(id);
      made[id] = false;
    }
  }
  return most;
}

std::map<std::string, int> count_ops(const Graph& graph) {
  std::map<std::string, int> counts;
  for (const Op& op : graph.ops) ++counts[name_of(op.kind)];
  return counts;
}

}  // namespace kraken
