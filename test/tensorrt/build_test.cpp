// How far TensorRT goes with lowered networks where there is no device: it must find nothing wrong but that.
#include <algorithm>
#include <map>
#include <regex>

#include "kernels/attention.h"
#include "lowering_fixture.h"
#include "skeleton.h"

namespace kraken::test {
namespace {

using Parameter = std::tuple<Model, DType>;

std::string name_of_case(const testing::TestParamInfo<Parameter>& info) {
  return std::get<0>(info.param).name + "_" + name_of(std::get<1>(info.param));
}

class BuiltNetwork : public LoweringTest, public testing::WithParamInterface<Parameter> {
 protected:
  const Model& model() const { return std::get<0>(GetParam()); }
  DType dtype() const { return std::get<1>(GetParam()); }

  void lower_last_rank() {
    graph = build_graph(model().config, {model().ranks.back() - 1, model().ranks.back(), true});
    lower_or_fail(graph, dtype());
  }
  void build_without_a_plan() {
    const std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
    EXPECT_EQ(plan, nullptr) << "a plan without a device: is this still the CPU-only mode?";
    EXPECT_FALSE(log.contains("kraken: ")) << log.problems();
    EXPECT_FALSE(log.contains("could not find any supported formats")) << log.problems();
  }

  Graph graph;
};

#if NV_TENSORRT_MAJOR == 10
constexpr const char* kNoDevice = "Failed to call queryFromDefaultDevice()";
const auto kBuiltTypes = testing::Values(DType::Float32, DType::Float16, DType::BFloat16);
#else
// Its safety mode, the only one that builds without a device, has no bfloat16.
constexpr const char* kNoDevice = "Failed to obtain resource: CASK6";
const auto kBuiltTypes = testing::Values(DType::Float32, DType::Float16);
#endif
INSTANTIATE_TEST_SUITE_P(Network, BuiltNetwork, testing::Combine(testing::ValuesIn(models()), kBuiltTypes),
                         name_of_case);

// Graph checks, symbolic shapes over both profiles, fusion: all done before the first kernel is asked for.
TEST_P(BuiltNetwork, IsAcceptedUpToTheDevice) {
  lower_last_rank();
  tensorrt::configure(*builder, options(dtype()), *config);
  EXPECT_EQ(config->getNbOptimizationProfiles(), 2);
  EXPECT_FALSE(config->getFlag(nvinfer1::BuilderFlag::kTF32));
  build_without_a_plan();
  EXPECT_TRUE(log.contains("Constructing optimization profile number 0 [1/2]")) << log.problems();
  EXPECT_TRUE(log.contains(kNoDevice)) << log.problems();
  EXPECT_TRUE(log.contains("Could not find any implementation for node {ForeignNode[")) << log.problems();
  int errors = 0;
  for (const plugins::Log::Line& line : log.lines())
    errors += line.severity <= nvinfer1::ILogger::Severity::kERROR ? 1 : 0;
  EXPECT_EQ(errors, 2) << log.problems();
}

#if NV_TENSORRT_MAJOR == 10

// TensorRT 10 plans plugins one by one (11 gives the whole network to Myelin, which needs a device).
class PlannedNetwork : public BuiltNetwork {
 protected:
  struct Planned {
    std::vector<std::string> order, reformatted;
    int64_t nodes = -1, after_reformat = -1, scratch = -1;
  };

  void plan() {
    lower_last_rank();
    if (HasFatalFailure()) return;
    const std::unique_ptr<nvinfer1::INetworkDefinition> lowered = std::move(network);
    network.reset(tensorrt::create_network(*builder));
    std::map<std::string, Rows> rows;
    for (const Op& op : graph.ops) rows[op.name] = graph.tensors[static_cast<size_t>(op.output)].rows;
    copy_skeleton(*lowered, *network, [&](const std::string& tensor) -> int64_t {
      const auto op = rows.find(tensor.substr(0, tensor.find('/')));
      const bool wanted = tensor == tensorrt::kWantedRows || tensor == tensorrt::kLogits ||
                          (op != rows.end() && op->second == Rows::Wanted);
      if (tensor == tensorrt::kSequenceBegins) return kSequences + 1;
      if (tensor == tensorrt::kPastLengths || tensor == tensorrt::kBlockTables) return kSequences;
      return wanted ? kRows : kTokens;
    });
    build_without_a_plan();
    for (const plugins::Log::Line& line : log.lines()) {
      std::smatch match;
      const auto number = [&](const char* pattern, int64_t& value) {
        if (std::regex_search(line.text, match, std::regex(pattern))) value = std::stoll(match[1]);
      };
      if (std::regex_search(line.text, match, std::regex("^Layer: (\\S+) ")))
        planned.order.push_back(match[1]);
      if (std::regex_search(line.text, match,
                            std::regex("Timing Runner: Reformatting CopyNode for (.*) \\(")))
        planned.reformatted.push_back(match[1]);
      number("^After tensor merging: (\\d+) layers", planned.nodes);
      number("^After reformat layers: (\\d+) layers", planned.after_reformat);
      number("^Max Scratch Memory: (\\d+) bytes", planned.scratch);
    }
  }
  int64_t position(const std::string& layer) const {
    const auto found = std::ranges::find(planned.order, layer);
    EXPECT_NE(found, planned.order.end()) << layer << " is not in the plan";
    return found - planned.order.begin();
  }

  static constexpr int64_t kTokens = 40, kRows = 3, kSequences = 2;
  Planned planned;
};

INSTANTIATE_TEST_SUITE_P(Network, PlannedNetwork,
                         testing::Combine(testing::ValuesIn(models()),
                                          testing::Values(DType::Float16, DType::BFloat16)),
                         name_of_case);

// What is between the start of an exchange and its end in the Graph is between them in the plan, and no
// tensor is copied or reformatted around the plugins. (TensorRT copies an integer input of the network that
// several plugins read, once a step.)
TEST_P(PlannedNetwork, RunsBetweenStartAndJoinWhatShallHideTheExchange) {
  plan();
  std::map<int, size_t> starts;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (op.kind == OpKind::StartNorm) starts[op.exchange] = i;
    if (op.kind != OpKind::JoinNorm && op.kind != OpKind::JoinAdd) continue;
    const Op& start = graph.ops[starts.at(op.exchange)];
    int hidden = 0;
    for (size_t j = starts.at(op.exchange) + 1; j < i; ++j) {
      const Op& between = graph.ops[j];
      if (between.kind != OpKind::Attention && between.kind != OpKind::Linear) continue;
      ++hidden;
      EXPECT_LT(position(start.name), position(between.name));
      EXPECT_LT(position(between.name), position(op.name));
    }
    EXPECT_GT(hidden, 0) << start.name;
  }
  EXPECT_GT(planned.nodes, 0);
  EXPECT_EQ(planned.after_reformat, planned.nodes + static_cast<int64_t>(planned.reformatted.size()));
  for (const std::string& tensor : planned.reformatted) {
    bool integers = false;
    for (const char* input : {tensorrt::kPositions, tensorrt::kSequenceBegins, tensorrt::kPastLengths,
                              tensorrt::kBlockTables, tensorrt::kWantedRows}) {
      integers = integers || tensor == std::string("Network Input ") + input;
    }
    EXPECT_TRUE(integers) << tensor << " is reformatted";
  }
  EXPECT_FALSE(log.contains("Inserting cop")) << log.problems();
}

// The attention alone asks for a workspace, as large as the step has tokens.
TEST_P(PlannedNetwork, HasOneFormatForEachPluginAndRoomForTheAttention) {
  plan();
  kernels::AttentionShape shape;
  shape.dtype = dtype() == DType::Float16 ? kernels::DType::Float16 : kernels::DType::BFloat16;
  shape.ways = graph.ways;
  shape.heads = graph.heads;
  shape.kv_heads = graph.kv_heads;
  shape.head_dim = graph.config.head_dim;
  EXPECT_EQ(planned.scratch, kernels::attention_workspace(shape, kTokens));
  for (const Op& op : graph.ops) {
    if (op.kind == OpKind::Attention || op.exchange != kNone) {
      EXPECT_TRUE(log.contains("Only one format combination and one tactic for " + op.name)) << op.name;
    }
  }
}

#endif

}  // namespace
}  // namespace kraken::test
