// A tensor on the host: every element as a double, rounded to what its type can hold.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <vector>

namespace kraken::test {

int64_t volume(const std::vector<int64_t>& sizes);

struct HostTensor {
  nvinfer1::DataType type = nvinfer1::DataType::kFLOAT;
  std::vector<int64_t> sizes;
  std::vector<double> values;

  HostTensor() = default;
  HostTensor(nvinfer1::DataType type_, std::vector<int64_t> sizes_);
  static HostTensor integers(const std::vector<int32_t>& values, std::vector<int64_t> sizes = {});

  int64_t size(int axis) const { return sizes[static_cast<size_t>(axis)]; }
  int64_t count() const { return static_cast<int64_t>(values.size()); }
  // To the nearest values of the type.
  void round();

  // The elements as a device has them.
  size_t bytes() const;
  void store(void* to) const;
  void load(const void* from);
};

}  // namespace kraken::test
