// Whole networks of every architecture and attribute, as TensorRT has them after the lowering.
#include <map>
#include <set>

#include "lowering_fixture.h"

namespace kraken::test {
namespace {

using nvinfer1::DataType;

constexpr DType kDTypes[] = {DType::Float32, DType::Float16, DType::BFloat16};

class LoweredNetworkOf : public LoweringTest, public testing::WithParamInterface<Model> {
 protected:
  // Every rank of every rank count, in every dtype.
  template <typename Check>
  void for_each(bool communication, Check check) {
    for (const int ranks : GetParam().ranks) {
      for (int rank = 0; rank < ranks; ++rank) {
        const Graph graph = build_graph(GetParam().config, {rank, ranks, communication});
        for (const DType dtype : kDTypes) {
          SCOPED_TRACE(std::string(name_of(dtype)) + ", rank " + std::to_string(rank) + " of " +
                       std::to_string(ranks));
          lower_or_fail(graph, dtype);
          if (HasFatalFailure()) return;
          check(graph, dtype);
        }
      }
    }
  }

  std::map<std::string, int> plugin_counts() const {
    std::map<std::string, int> counts;
    for (nvinfer1::ILayer* layer : layers()) {
      if (const std::string name = plugin_name(*layer); !name.empty()) ++counts[name];
    }
    return counts;
  }
};

INSTANTIATE_TEST_SUITE_P(Network, LoweredNetworkOf, testing::ValuesIn(models()),
                         [](const auto& info) { return info.param.name; });

TEST_P(LoweredNetworkOf, HasTheInputsAndTheOutputOfARank) {
  for_each(true, [&](const Graph& graph, DType) {
    const std::vector<std::pair<std::string, std::vector<int64_t>>> expected = {
        {"ids", {-1}},          {"positions", {-1}},       {"sequence_begins", {-1}},
        {"past_lengths", {-1}}, {"block_tables", {-1, 2}}, {"wanted_rows", {-1}}};
    ASSERT_EQ(network->getNbInputs(), static_cast<int32_t>(expected.size()));
    for (size_t i = 0; i < expected.size(); ++i) {
      const nvinfer1::ITensor& input = *network->getInput(static_cast<int32_t>(i));
      EXPECT_EQ(input.getName(), expected[i].first);
      EXPECT_EQ(sizes(input), expected[i].second) << input.getName();
      EXPECT_EQ(input.getType(), DataType::kINT32) << input.getName();
    }
    ASSERT_EQ(network->getNbOutputs(), 1);
    const nvinfer1::ITensor& logits = *network->getOutput(0);
    EXPECT_STREQ(logits.getName(), "logits");
    EXPECT_EQ(sizes(logits), (std::vector<int64_t>{-1, graph.vocab_size}));
    EXPECT_EQ(logits.getType(), DataType::kFLOAT);
  });
}

// lower() itself compares each op's output with the Graph; this looks at the layers between.
TEST_P(LoweredNetworkOf, NamesLayersAfterOpsAndComputesInTheEnginesType) {
  for_each(true, [&](const Graph& graph, DType dtype) {
    std::set<std::string> names;
    for (nvinfer1::ILayer* layer : layers()) {
      EXPECT_TRUE(names.insert(layer->getName()).second) << layer->getName() << " twice";
      EXPECT_STREQ(layer->getOutput(0)->getName(),
                   layer->getOutput(0)->isNetworkOutput() ? "logits" : layer->getName());
      const DataType type = layer->getOutput(0)->getType();
      if (layer->getType() == nvinfer1::LayerType::kMATRIX_MULTIPLY) {
        // With casts around it: sums in float32 of factors in float16.
        EXPECT_EQ(type, dtype == DType::Float16 ? DataType::kFLOAT : tensorrt::data_type(dtype))
            << layer->getName();
      }
      if (layer->getType() == nvinfer1::LayerType::kNORMALIZATION) {
        EXPECT_EQ(type, DataType::kFLOAT) << layer->getName();
      }
    }
    for (const Op& op : graph.ops) EXPECT_TRUE(names.count(op.name)) << op.name << " has no layer";
    for (const WeightSpec& weight : graph.weights)
      EXPECT_TRUE(names.count(weight.name)) << weight.name << " is not in the network";
  });
}

TEST_P(LoweredNetworkOf, HasAPluginForEachOpThatExchangesOrCaches) {
  for_each(true, [&](const Graph& graph, DType) {
    std::map<std::string, int> expected;
    for (const Op& op : graph.ops) {
      if (op.kind == OpKind::Attention) ++expected["Attention"];
      if (op.kind == OpKind::StartNorm) ++expected["StartNorm"];
      if (op.kind == OpKind::JoinNorm) ++expected["JoinNorm"];
      if (op.kind == OpKind::JoinAdd) ++expected["JoinAdd"];
      if (op.kind == OpKind::AllReduce && graph.ranks > 1) ++expected["AllReduce"];
    }
    EXPECT_EQ(plugin_counts(), expected);
  });
}

// TensorRT drops a layer that no output depends on: the network would be faster than the model.
TEST_P(LoweredNetworkOf, HasNoLayerThatNothingNeeds) {
  for (const bool communication : {true, false}) {
    for_each(communication, [&](const Graph&, DType) {
      std::set<const nvinfer1::ITensor*> needed = {network->getOutput(0)};
      const std::vector<nvinfer1::ILayer*> all = layers();
      for (auto layer = all.rbegin(); layer != all.rend(); ++layer) {
        EXPECT_TRUE(needed.count((*layer)->getOutput(0))) << (*layer)->getName();
        for (int32_t i = 0; i < (*layer)->getNbInputs(); ++i) needed.insert((*layer)->getInput(i));
      }
    });
  }
}

TEST_P(LoweredNetworkOf, ExchangesNothingWithoutCommunication) {
  for_each(false, [&](const Graph& graph, DType) {
    EXPECT_EQ(plugin_counts(), (std::map<std::string, int>{{"Attention", graph.config.layers}}));
  });
}

}  // namespace
}  // namespace kraken::test
