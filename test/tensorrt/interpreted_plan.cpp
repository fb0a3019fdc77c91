#include "interpreted_plan.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "model_json.h"

namespace kraken::test {
namespace {

using Json = nlohmann::json;

size_t bytes_of(const WeightSpec& weight, DType dtype) {
  const auto count =
      std::accumulate(weight.shape.begin(), weight.shape.end(), int64_t{1}, std::multiplies<>());
  return static_cast<size_t>(count) * size_of(dtype);
}

}  // namespace

tensorrt::WeightReader::Stored InterpretedPlan::Weights::read(const WeightSpec& weight) const {
  const Copy& copy = copies_.at(weight.name);
  return {copy.dtype, copy.bytes.data()};
}

void InterpretedPlan::Weights::add(const std::string& name, DType dtype, std::span<const std::byte> bytes) {
  copies_[name] = {dtype, {bytes.begin(), bytes.end()}};
}

std::vector<std::byte> write_plan(const tensorrt::PlanRequest& request) {
  const Graph& graph = *request.graph;
  const tensorrt::StepLimits& limits = request.limits;
  Json head = {{"model", model_json(graph.config)},
               {"rank", graph.rank},
               {"ranks", graph.ranks},
               {"communication", graph.communication},
               {"dtype", name_of(request.dtype)},
               {"maxTokens", limits.max_tokens},
               {"maxSequences", limits.max_sequences},
               {"maxRows", limits.max_rows},
               {"maxContext", limits.max_context},
               {"blockTokens", request.block_tokens},
               {"weights", Json::array()}};
  std::vector<std::byte> weights;
  for (const WeightSpec& weight : graph.weights) {
    const tensorrt::WeightReader::Stored stored = request.weights->read(weight);
    head["weights"].push_back(name_of(stored.dtype));
    weights.insert(weights.end(), stored.data, stored.data + bytes_of(weight, stored.dtype));
  }
  const std::string line = head.dump() + "\n";
  const auto* begin = reinterpret_cast<const std::byte*>(line.data());
  std::vector<std::byte> plan(begin, begin + line.size());
  plan.insert(plan.end(), weights.begin(), weights.end());
  return plan;
}

InterpretedPlan read_plan(std::span<const std::byte> bytes) {
  InterpretedPlan plan;
  try {
    const auto end = std::ranges::find(bytes, std::byte{'\n'});
    const Json head = Json::parse(
        std::string(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(end - bytes.begin())));
    plan.graph = build_graph(parse_model_config(head.at("model").dump()),
                             {head.at("rank"), head.at("ranks"), head.at("communication")});
    plan.options = {parse_dtype(head.at("dtype")), head.at("maxTokens"),
                    head.at("maxSequences"),       head.at("maxRows"),
                    head.at("maxContext"),         head.at("blockTokens")};
    size_t at = static_cast<size_t>(end - bytes.begin()) + 1;
    for (size_t i = 0; i < plan.graph.weights.size(); ++i) {
      const WeightSpec& weight = plan.graph.weights[i];
      const DType dtype = parse_dtype(head.at("weights").at(i));
      const size_t size = bytes_of(weight, dtype);
      if (at + size > bytes.size()) throw Error("ERR_ENGINE_CORRUPT", "the plan was cut short");
      plan.weights.add(weight.name, dtype, bytes.subspan(at, size));
      at += size;
    }
  } catch (const Json::exception& error) {
    throw Error("ERR_ENGINE_CORRUPT", std::string("no plan of the interpreted TensorRT: ") + error.what());
  }
  return plan;
}

}  // namespace kraken::test
