// A file for reading: mapped into memory, where pages come in as they are touched, or piece by piece.
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
  // Copies [offset, offset + bytes) without mapping it in, for what is read here and there: mapped pages
  // count as this process's memory, and touching them after the file was cut would end the process. Throws
  // ERR_IO.
  void read(size_t offset, void* to, size_t bytes) const;
  // Gives back the memory of whole pages within [offset, offset + bytes): they come in again when touched.
  void release(size_t offset, size_t bytes) const;
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace kraken
