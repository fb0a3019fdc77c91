// Where the elements of canonical checkpoint tensors come from: files (any strides), seeded random numbers,
// constants. The JSON is lib/checkpoint/checkpoint-index.ts's TensorView by name.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/dtype.h"
#include "model/graph.h"
#include "weights/mapped_file.h"

namespace kraken {

struct FileSource {
  std::shared_ptr<MappedFile> file;
  uint64_t offset = 0;  // bytes
  uint64_t extent = 0;  // bytes from the first element to the end of the last
  DType dtype = DType::Float32;
  std::vector<int64_t> strides;  // elements
};

// Element i (row-major) is a pure function of (seed, name, i): the same on every rank, backend and machine.
struct RandomSource {
  uint64_t key = 0;
  double std = 0;
};

struct ConstantSource {
  float value = 0;
};

struct TensorSource {
  std::string name;
  std::vector<int64_t> shape;
  std::variant<FileSource, RandomSource, ConstantSource> from;
};

class TensorSources {
 public:
  // Maps every file. Throws ERR_IO, ERR_CHECKPOINT_FORMAT (a tensor outside its file).
  static TensorSources parse(const std::string& json);

  const TensorSource& get(const std::string& name) const;  // throws ERR_CHECKPOINT_TENSORS

 private:
  std::map<std::string, TensorSource> sources_;
};

// Reads elements [first, first + count) of the piece, in its own row-major order, as float32.
// Throws ERR_CHECKPOINT_VALUES for NaN or infinity.
void read_piece(const TensorSource& source, const WeightPiece& piece, int64_t first, int64_t count,
                float* out);

// Gives back the memory that reading has filled: of a checkpoint larger than memory, one tensor at a time is
// in it.
void release(const TensorSource& source);

}  // namespace kraken
