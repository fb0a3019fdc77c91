// A rank's engine file (safetensors), mapped read-only: weights by their Graph name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/dtype.h"
#include "weights/mapped_file.h"

namespace kraken {

class RankFile {
 public:
  struct Entry {
    DType dtype;
    std::vector<int64_t> shape;
    const std::byte* data;  // aligned to the element size
    size_t bytes;
  };

  // Throws ERR_ENGINE_CORRUPT when the file is not a whole safetensors file.
  static RankFile open(const std::string& path);

  // Throws ERR_ENGINE_CORRUPT when absent or of another shape.
  const Entry& get(const std::string& name, const std::vector<int64_t>& shape) const;

  // Copies [offset, offset + bytes) of the entry. Throws ERR_IO.
  void read(const Entry& entry, size_t offset, void* to, size_t bytes) const;

  // The entry was read and copied: its pages need not stay in memory.
  void release(const Entry& entry) const;

 private:
  std::shared_ptr<MappedFile> file_;
  std::unordered_map<std::string, Entry> entries_;
  std::string path_;
};

}  // namespace kraken
