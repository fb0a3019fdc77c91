// A file mapped read-only into memory; pages come in as they are touched.
#pragma once

#include <cstddef>
#include <string>

namespace kraken {

class MappedFile {
 public:
  // Throws ERR_IO.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  // Gives back the memory of whole pages within [offset, offset + bytes): they come in again when touched.
  void release(size_t offset, size_t bytes) const;
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace kraken
