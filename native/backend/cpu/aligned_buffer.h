// Memory for weights and scratch, aligned to cache lines. Larger pieces lie side by side on huge pages where
// the system offers them: a packed matrix is walked once per token, so its page-table misses are paid every
// time, and touching it for the first time costs one fault per 2 MiB instead of 512. Nothing here touches the
// memory: its pages belong to the NUMA node of the thread that first writes them.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

namespace kraken::cpu {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Uninitialised. Throws std::bad_alloc.
  explicit AlignedBuffer(size_t bytes);
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::move(other.data_)), bytes_(std::exchange(other.bytes_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    data_ = std::move(other.data_);
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }

  void* data() const { return data_.get(); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_.get());
  }
  size_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<void> data_;
  size_t bytes_ = 0;
};

}  // namespace kraken::cpu
