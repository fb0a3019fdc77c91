#include "random_model.h"

#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "weights/rank_writer.h"
#include "weights/tensor_source.h"

namespace kraken::test {
namespace {

namespace fs = std::filesystem;

// One rank's pieces reach to the end of every tensor of the checkpoint.
std::map<std::string, std::vector<int64_t>> checkpoint_shapes(const ModelConfig& config) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const WeightSpec& weight : build_graph(config, {0, 1, true}).weights) {
    for (const WeightPiece& piece : weight.pieces) {
      std::vector<int64_t>& shape = shapes[piece.source];
      shape.resize(piece.size.size(), 0);
      for (size_t i = 0; i < shape.size(); ++i) shape[i] = std::max(shape[i], piece.begin[i] + piece.size[i]);
    }
  }
  return shapes;
}

std::string random_tensors(const ModelConfig& config) {
  nlohmann::json views;
  for (const auto& [name, shape] : checkpoint_shapes(config)) {
    // Matrices keep the size of what they multiply; norms and biases are of a size that shows.
    const double std = shape.size() == 1 ? 0.7 : 1.5 / std::sqrt(static_cast<double>(shape.back()));
    views[name] = {{"source", "random"}, {"shape", shape}, {"seed", 7}, {"std", std}};
  }
  return views.dump();
}

}  // namespace

RandomModel::RandomModel(const ModelConfig& config, DType dtype)
    : config_(config), dtype_(dtype), tensors_(random_tensors(config)) {
  std::string pattern = (fs::temp_directory_path() / "kraken-tensorrt-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
  directory_ = pattern;
}

RandomModel::~RandomModel() {
  fs::remove_all(directory_);
}

std::string RandomModel::rank_path(const Graph& graph) const {
  const std::string path =
      directory_ / (std::to_string(graph.rank) + "-of-" + std::to_string(graph.ranks) + ".engine");
  if (!fs::exists(path))
    write_rank_file(graph, TensorSources::parse(tensors_), dtype_, path, [](uint64_t) {});
  return path;
}

}  // namespace kraken::test
