// A rank's engine file as a lowering reads it. Apart from the reader's interface, because the library that
// lowers does not open files: who opens it hands one over.
#pragma once

#include "backend/tensorrt/weight_reader.h"
#include "weights/rank_file.h"

namespace kraken::tensorrt {

class RankFileWeights : public WeightReader {
 public:
  explicit RankFileWeights(const RankFile& file) : file_(file) {}
  Stored read(const WeightSpec& weight) const override {
    const RankFile::Entry& entry = file_.get(weight.name, weight.shape);
    return {entry.dtype, entry.data};
  }

 private:
  const RankFile& file_;
};

}  // namespace kraken::tensorrt
