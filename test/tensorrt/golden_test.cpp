// Dumps of whole networks, compared with those in golden/. `KRAKEN_REWRITE_GOLDEN=1` writes them anew: look
// at the difference before it is committed. Both majors of TensorRT have the same.
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "lowering_fixture.h"

namespace kraken::test {
namespace {

const char* kind_of(nvinfer1::LayerType type) {
  using nvinfer1::LayerType;
  switch (type) {
    case LayerType::kCONSTANT:
      return "constant";
    case LayerType::kMATRIX_MULTIPLY:
      return "matmul";
    case LayerType::kELEMENTWISE:
      return "elementwise";
    case LayerType::kACTIVATION:
      return "activation";
    case LayerType::kUNARY:
      return "unary";
    case LayerType::kREDUCE:
      return "reduce";
    case LayerType::kGATHER:
      return "gather";
    case LayerType::kSHUFFLE:
      return "shuffle";
    case LayerType::kCAST:
      return "cast";
    case LayerType::kNORMALIZATION:
      return "normalization";
    default:
      return "another";
  }
}

struct Golden {
  const char* model;
  int ranks;
  DType dtype;
};

class GoldenNetwork : public LoweringTest, public testing::WithParamInterface<Golden> {
 protected:
  // A line for each layer: what it is, its name, what comes of it, and of which layers.
  std::string dump() const {
    std::ostringstream out;
    for (int32_t i = 0; i < network->getNbInputs(); ++i) {
      out << "input " << network->getInput(i)->getName() << " " << tensorrt::describe(network->getInput(i))
          << "\n";
    }
    for (nvinfer1::ILayer* layer : layers()) {
      const std::string plugin = plugin_name(*layer);
      out << (plugin.empty() ? kind_of(layer->getType()) : plugin) << " " << layer->getName() << " "
          << tensorrt::describe(layer->getOutput(0));
      for (int32_t input = 0; input < layer->getNbInputs(); ++input)
        out << (input == 0 ? " <- " : ", ") << layer->getInput(input)->getName();
      out << "\n";
    }
    return out.str();
  }
};

INSTANTIATE_TEST_SUITE_P(Network, GoldenNetwork,
                         testing::Values(Golden{"kraken4_biases", 2, DType::BFloat16},
                                         Golden{"gpt_modern", 2, DType::Float16},
                                         Golden{"parallel_erf", 2, DType::Float32},
                                         Golden{"ladder", 2, DType::BFloat16}),
                         [](const auto& info) { return std::string(info.param.model); });

TEST_P(GoldenNetwork, IsWhatItWas) {
  for (const Model& model : models()) {
    if (model.name == GetParam().model)
      lower_or_fail(build_graph(model.config, {1, GetParam().ranks, true}), GetParam().dtype);
  }
  const std::string path = std::string(KRAKEN_GOLDEN_FOLDER) + "/" + GetParam().model + ".txt", is = dump();
  if (std::getenv("KRAKEN_REWRITE_GOLDEN") != nullptr) {
    std::ofstream(path) << is;
    return;
  }
  std::ifstream file(path);
  ASSERT_TRUE(file) << path << " is missing: run with KRAKEN_REWRITE_GOLDEN=1";
  std::string was_line, is_line;
  std::istringstream lines(is);
  for (int number = 1;; ++number) {
    const bool was = static_cast<bool>(std::getline(file, was_line)),
               now = static_cast<bool>(std::getline(lines, is_line));
    ASSERT_EQ(now ? is_line : "the end", was ? was_line : "the end")
        << "line " << number << "; if that is meant, run with KRAKEN_REWRITE_GOLDEN=1";
    if (!was) break;
  }
}

}  // namespace
}  // namespace kraken::test
