// Tensors in host memory: all the wrapper makes and reads.
#pragma once

#include <initializer_list>
#include <span>

#include "tensorrt_llm/executor/types.h"

namespace tensorrt_llm::executor {

class Shape {
 public:
  using DimType64 = std::int64_t;
  Shape() = default;
  Shape(const DimType64* data, std::size_t size) : dims_(data, size) {}
  Shape(std::initializer_list<DimType64> dims) : dims_(dims.begin(), dims.size()) {}

  std::size_t size() const { return dims_.size(); }
  const DimType64* begin() const { return dims_.data(); }
  const DimType64* end() const { return dims_.data() + dims_.size(); }
  DimType64 operator[](std::size_t i) const { return dims_[i]; }

 private:
  std::span<const DimType64> dims_;  // a view, as in the original: of whoever holds the dimensions
};

class Tensor {
 public:
  static Tensor cpu(DataType dataType, Shape shape = {});

  void* getData();
  const void* getData() const;
  DataType getDataType() const;
  Shape getShape() const;
  std::size_t getSize() const;

 private:
  struct Memory;
  std::shared_ptr<Memory> memory_;
};

}  // namespace tensorrt_llm::executor
