#include "interpreter/host_tensor.h"

#include <cstring>
#include <functional>
#include <numeric>
#include <stdexcept>

#include "base/dtype.h"

namespace kraken::test {

using nvinfer1::DataType;

namespace {

size_t element_bytes(DataType type) {
  switch (type) {
    case DataType::kFLOAT:
    case DataType::kINT32:
      return 4;
    case DataType::kHALF:
    case DataType::kBF16:
      return 2;
    default:
      throw std::runtime_error("the interpreter has no tensors of type " +
                               std::to_string(static_cast<int>(type)));
  }
}

template <typename Element, typename Convert>
void store_as(const std::vector<double>& values, void* to, Convert convert) {
  auto* at = static_cast<char*>(to);
  for (const double value : values) {
    const Element element = convert(value);
    std::memcpy(at, &element, sizeof element);
    at += sizeof element;
  }
}

template <typename Element, typename Convert>
void load_as(std::vector<double>& values, const void* from, Convert convert) {
  const auto* at = static_cast<const char*>(from);
  for (double& value : values) {
    Element element;
    std::memcpy(&element, at, sizeof element);
    value = static_cast<double>(convert(element));
    at += sizeof element;
  }
}

}  // namespace

int64_t volume(const std::vector<int64_t>& sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

HostTensor::HostTensor(DataType type_, std::vector<int64_t> sizes_)
    : type(type_), sizes(std::move(sizes_)), values(static_cast<size_t>(volume(sizes)), 0.0) {}

HostTensor HostTensor::integers(const std::vector<int32_t>& values, std::vector<int64_t> sizes) {
  if (sizes.empty()) sizes = {static_cast<int64_t>(values.size())};
  HostTensor tensor(DataType::kINT32, std::move(sizes));
  tensor.values.assign(values.begin(), values.end());
  return tensor;
}

void HostTensor::round() {
  if (type == DataType::kINT32) return;
  for (double& value : values) {
    const auto single = static_cast<float>(value);
    value = static_cast<double>(type == DataType::kHALF   ? float16_to_float(float_to_float16(single))
                                : type == DataType::kBF16 ? bfloat16_to_float(float_to_bfloat16(single))
                                                          : single);
  }
}

size_t HostTensor::bytes() const {
  return values.size() * element_bytes(type);
}

void HostTensor::store(void* to) const {
  switch (type) {
    case DataType::kFLOAT:
      return store_as<float>(values, to, [](double x) { return static_cast<float>(x); });
    case DataType::kHALF:
      return store_as<uint16_t>(values, to, [](double x) { return float_to_float16(static_cast<float>(x)); });
    case DataType::kBF16:
      return store_as<uint16_t>(values, to,
                                [](double x) { return float_to_bfloat16(static_cast<float>(x)); });
    default:
      return store_as<int32_t>(values, to, [](double x) { return static_cast<int32_t>(x); });
  }
}

void HostTensor::load(const void* from) {
  switch (type) {
    case DataType::kFLOAT:
      return load_as<float>(values, from, [](float x) { return x; });
    case DataType::kHALF:
      return load_as<uint16_t>(values, from, float16_to_float);
    case DataType::kBF16:
      return load_as<uint16_t>(values, from, bfloat16_to_float);
    default:
      return load_as<int32_t>(values, from, [](int32_t x) { return x; });
  }
}

}  // namespace kraken::test
