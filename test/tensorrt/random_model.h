// A model of random weights as the engine files of its ranks, on disk as long as this lives.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "model/graph.h"
#include "weights/rank_file.h"

namespace kraken::test {

class RandomModel {
 public:
  explicit RandomModel(const ModelConfig& config, DType dtype = DType::Float32);
  ~RandomModel();
  RandomModel(const RandomModel&) = delete;
  RandomModel& operator=(const RandomModel&) = delete;

  const ModelConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }
  // The same numbers, whatever the ranks.
  std::string rank_path(const Graph& graph) const;
  RankFile rank_file(const Graph& graph) const { return RankFile::open(rank_path(graph)); }
  // Canonical tensors of the checkpoint, as a build takes them (JSON).
  const std::string& tensors() const { return tensors_; }

 private:
  ModelConfig config_;
  DType dtype_;
  std::filesystem::path directory_;
  std::string tensors_;  // JSON
};

}  // namespace kraken::test
