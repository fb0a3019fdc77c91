#include "model/graph.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/error.h"
#include "model_configs.h"

namespace kraken {
namespace {

using test::small_config;

const Architecture kAll[] = {Architecture::Kraken, Architecture::Gpt, Architecture::Parallel,
                             Architecture::Ladder};

int64_t product(const std::vector<int64_t>& sizes) {
  int64_t total = 1;
  for (const int64_t size : sizes) total *= size;
  return total;
}

TEST(Graph, EveryPieceLiesInsideItsWeightAndPiecesDoNotOverlap) {
  for (const Architecture architecture : kAll) {
    for (const int ranks : {1, 2, 4}) {
      for (int rank = 0; rank < ranks; ++rank) {
        const Graph graph = build_graph(small_config(architecture), {rank, ranks, true});
        for (const WeightSpec& weight : graph.weights) {
          int64_t end = 0;
          for (const WeightPiece& piece : weight.pieces) {
            EXPECT_GE(piece.offset, end) << weight.name;
            end = piece.offset + product(piece.size);
          }
          EXPECT_LE(end, product(weight.shape)) << weight.name;
          if (weight.role == WeightRole::Matrix) {
            EXPECT_EQ(end, product(weight.shape)) << weight.name;
          }
        }
      }
    }
  }
}

// Matrices are cut into shards that together are exactly the checkpoint's tensor.
TEST(Graph, RanksShareMatricesWithoutGapOrOverlap) {
  for (const Architecture architecture : kAll) {
    const auto elements = [&](int ranks) {
      std::map<std::string, int64_t> by_source;
      for (int rank = 0; rank < ranks; ++rank) {
        for (const WeightSpec& weight :
             build_graph(small_config(architecture), {rank, ranks, true}).weights) {
          if (weight.role != WeightRole::Matrix) continue;
          for (const WeightPiece& piece : weight.pieces) by_source[piece.source] += product(piece.size);
        }
      }
      return by_source;
    };
    const auto whole = elements(1);
    EXPECT_EQ(elements(2), whole);
    EXPECT_EQ(elements(4), whole);
  }
}

TEST(Graph, BiasesOfSummedLinearsExistOnce) {
  const ModelConfig config = small_config(Architecture::Gpt);
  const auto has = [](const Graph& graph, const char* name) {
    for (const WeightSpec& weight : graph.weights) {
      if (weight.name == name) return true;
    }
    return false;
  };
  EXPECT_TRUE(has(build_graph(config, {0, 2, true}), "layers.1.mlp.down.bias"));
  EXPECT_FALSE(has(build_graph(config, {1, 2, true}), "layers.1.mlp.down.bias"));
  EXPECT_TRUE(has(build_graph(config, {1, 2, true}), "layers.1.mlp.up.bias"));
}

TEST(Graph, KrakenAttentionRunsBetweenStartAndJoin) {
  const Graph graph = build_graph(small_config(Architecture::Kraken), {0, 2, true});
  EXPECT_EQ(graph.ways, 2);
  EXPECT_EQ(graph.exchanges, 2);  // the first layer has none
  std::map<int, std::string> order;
  for (const Op& op : graph.ops) {
    if (op.kind == OpKind::StartNorm) order[op.layer] += 'S';
    if (op.kind == OpKind::Attention) order[op.layer] += 'A';
    if (op.kind == OpKind::JoinNorm) order[op.layer] += 'J';
  }
  EXPECT_EQ(order[0], "A");
  EXPECT_EQ(order[1], "SAJ");
  EXPECT_EQ(order[2], "SAJ");
}

TEST(Graph, AttentionDependsOnStartNormAndEveryTensorIsWrittenOnceBeforeItIsRead) {
  for (const Architecture architecture : kAll) {
    const Graph graph = build_graph(small_config(architecture), {1, 2, true});
    std::set<TensorId> written;
    for (const Op& op : graph.ops) {
      for (const TensorId id : op.inputs) EXPECT_TRUE(written.contains(id)) << op.name;
      if (op.residual != kNone) {
        EXPECT_TRUE(written.contains(op.residual)) << op.name;
      }
      EXPECT_TRUE(written.insert(op.output).second) << op.name;
    }
  }
}

TEST(Graph, CollectivesPerForward) {
  const auto count = [](Architecture architecture, OpKind kind) {
    int n = 0;
    for (const Op& op : build_graph(small_config(architecture), {0, 2, true}).ops) n += op.kind == kind;
    return n;
  };
  EXPECT_EQ(count(Architecture::Gpt, OpKind::AllReduce), 6);
  EXPECT_EQ(count(Architecture::Parallel, OpKind::AllReduce), 3);
  EXPECT_EQ(count(Architecture::Kraken, OpKind::AllReduce), 1);
  EXPECT_EQ(count(Architecture::Kraken, OpKind::StartNorm), 2);
  EXPECT_EQ(count(Architecture::Ladder, OpKind::StartNorm), 5);
  EXPECT_EQ(count(Architecture::Ladder, OpKind::AllReduce), 1);
}

TEST(Graph, OnlyWantedRowsFollowTheLastAttention) {
  for (const Architecture architecture : kAll) {
    const Graph graph = build_graph(small_config(architecture), {0, 2, true});
    bool behind = false;
    for (const Op& op : graph.ops) {
      if (behind) {
        EXPECT_EQ(graph.tensors[static_cast<size_t>(op.output)].rows, Rows::Wanted) << op.name;
      }
      if (op.kind == OpKind::Attention && op.last_tokens) behind = true;
    }
    EXPECT_TRUE(behind);
  }
}

TEST(Graph, RanksThatDoNotDivideSayWhichWould) {
  try {
    build_graph(small_config(Architecture::Kraken), {0, 3, true});
    FAIL() << "3 ranks do not divide 4 ways";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "ERR_RANKS");
    EXPECT_NE(std::string(error.what()).find("1, 2 or 4"), std::string::npos) << error.what();
  }
  ModelConfig grouped = small_config(Architecture::Gpt);
  grouped.heads = 8;
  grouped.kv_heads = 2;
  EXPECT_EQ(valid_rank_counts(grouped, 8), (std::vector<int>{1, 2, 4, 8}));
}

TEST(Graph, KeyValueHeadsAreKeptByEveryRankThatNeedsThem) {
  ModelConfig config = small_config(Architecture::Gpt);
  config.heads = 8;
  config.kv_heads = 2;
  for (int rank = 0; rank < 4; ++rank) {
    const Graph graph = build_graph(config, {rank, 4, true});
    EXPECT_EQ(graph.heads, 2);
    EXPECT_EQ(graph.kv_heads, 1);
    for (const WeightSpec& weight : graph.weights) {
      if (weight.name != "layers.0.attn.qkv.weight") continue;
      EXPECT_EQ(weight.pieces[0].begin[0], 2 * rank);
      EXPECT_EQ(weight.pieces[1].begin[0], rank / 2);
    }
  }
}

TEST(Graph, DescribeNamesEveryOp) {
  const std::string text = describe(build_graph(small_config(Architecture::Kraken), {0, 4, true}));
  EXPECT_NE(text.find("StartNorm(%"), std::string::npos);
  EXPECT_NE(text.find("exchange 1"), std::string::npos);
  EXPECT_NE(text.find("# layers.2.mlp.down"), std::string::npos);
}

TEST(ModelConfig, ParsesTheTypeScriptJson) {
  const ModelConfig config = parse_model_config(R"({
    "architecture": "kraken", "ways": 2, "conjunctionBias": false, "layers": 3, "hiddenSize": 48, "heads": 3,
    "kvHeads": 3, "headDim": 16, "ffnSize": 96, "vocabSize": 256, "maxPositions": 64,
    "norm": {"kind": "layer", "eps": 1e-5, "bias": false}, "activation": "gelu_tanh",
    "positions": {"kind": "rotary", "dims": 8, "base": 10000, "interleaved": true},
    "bias": {"qkv": false, "attnProj": false, "mlp": true, "head": false}, "tiedHead": true})");
  EXPECT_EQ(config.ways, 2);
  EXPECT_EQ(config.rotary.dims, 8);
  EXPECT_TRUE(config.rotary.interleaved);
  EXPECT_TRUE(config.bias.mlp);
  EXPECT_FALSE(config.learned_positions);
  EXPECT_THROW(parse_model_config("{}"), Error);
  EXPECT_THROW(parse_model_config("not json"), Error);
}

}  // namespace
}  // namespace kraken
