#include "model/graph.h"

#include <sstream>

#include "base/error.h"
#include "model/graph_builder.h"

namespace kraken {
namespace {

bool splits(const ModelConfig& config, int ranks) {
  if (ranks < 1) return false;
  if (config.architecture == Architecture::Kraken) return config.ways % ranks == 0;
  const bool kv = config.kv_heads >= ranks ? config.kv_heads % ranks == 0 : ranks % config.kv_heads == 0;
  return config.heads % ranks == 0 && kv && config.ffn >= ranks && config.vocab >= ranks;
}

std::string list(const std::vector<int>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == numbers.size() ? " or " : ", ") + std::to_string(numbers[i]);
  }
  return text;
}

}  // namespace

const char* name_of(OpKind kind) {
  switch (kind) {
    case OpKind::Embed:
      return "Embed";
    case OpKind::Norm:
      return "Norm";
    case OpKind::Linear:
      return "Linear";
    case OpKind::Attention:
      return "Attention";
    case OpKind::AllReduce:
      return "AllReduce";
    case OpKind::StartNorm:
      return "StartNorm";
    case OpKind::JoinNorm:
      return "JoinNorm";
    case OpKind::JoinAdd:
      return "JoinAdd";
    case OpKind::LastTokens:
      return "LastTokens";
    case OpKind::LogitsHead:
      return "LogitsHead";
  }
  internal_error("op kind out of range");
}

std::vector<int> valid_rank_counts(const ModelConfig& config, int limit) {
  std::vector<int> counts;
  for (int ranks = 1; ranks <= limit; ++ranks) {
    if (splits(config, ranks)) counts.push_back(ranks);
  }
  return counts;
}

Graph build_graph(const ModelConfig& config, const GraphOptions& options) {
  if (!splits(config, options.ranks)) {
    const std::string must = config.architecture == Architecture::Kraken
                                 ? "must divide the model's ways (" + std::to_string(config.ways) + ")"
                                 : "must divide the model's attention heads (" +
                                       std::to_string(config.heads) + ", key/value heads " +
                                       std::to_string(config.kv_heads) + ")";
    throw Error("ERR_RANKS", "`ranks` " + must + ": got " + std::to_string(options.ranks) + "; " +
                                 list(valid_rank_counts(config, 64)) + " would work");
  }
  KRAKEN_CHECK(options.rank >= 0 && options.rank < options.ranks);
  GraphBuilder builder(config, options);
  switch (config.architecture) {
    case Architecture::Kraken:
      return build_kraken(builder);
    case Architecture::Gpt:
      return build_gpt(builder);
    case Architecture::Parallel:
      return build_parallel(builder);
    case Architecture::Ladder:
      return build_ladder(builder);
  }
  internal_error("architecture out of range");
}

std::string describe(const Graph& graph) {
  std::ostringstream out;
  const auto tensor = [&](TensorId id) {
    const TensorInfo& info = graph.tensors[static_cast<size_t>(id)];
    std::ostringstream text;
    text << "%" << id << "[" << info.ways << "," << (info.rows == Rows::Tokens ? "T" : "B") << ","
         << info.width << "]";
    return text.str();
  };
  for (const Op& op : graph.ops) {
    out << tensor(op.output) << " = " << name_of(op.kind) << "(";
    for (size_t i = 0; i < op.inputs.size(); ++i) out << (i ? ", " : "") << "%" << op.inputs[i];
    out << ")";
    if (op.residual != kNone) out << " + %" << op.residual;
    if (op.exchange != kNone) out << " exchange " << op.exchange;
    out << "  # " << op.name << "\n";
  }
  return out.str();
}

}  // namespace kraken
