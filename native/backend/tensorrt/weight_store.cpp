#include "backend/tensorrt/weight_store.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "base/error.h"

namespace kraken::tensorrt {
namespace {

float element(DType dtype, const std::byte* data, size_t i) {
  if (dtype == DType::Float32) {
    float value = 0;
    std::memcpy(&value, data + i * sizeof value, sizeof value);
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, data + i * sizeof bits, sizeof bits);
  return dtype == DType::Float16 ? float16_to_float(bits) : bfloat16_to_float(bits);
}

void set_element(DType dtype, std::byte* data, size_t i, float value) {
  if (dtype == DType::Float32) {
    std::memcpy(data + i * sizeof value, &value, sizeof value);
    return;
  }
  const uint16_t bits = dtype == DType::Float16 ? float_to_float16(value) : float_to_bfloat16(value);
  std::memcpy(data + i * sizeof bits, &bits, sizeof bits);
}

}  // namespace

nvinfer1::DataType data_type(DType dtype) {
  switch (dtype) {
    case DType::Float32:
      return nvinfer1::DataType::kFLOAT;
    case DType::Float16:
      return nvinfer1::DataType::kHALF;
    case DType::BFloat16:
      return nvinfer1::DataType::kBF16;
    case DType::Int8:
      break;
  }
  throw Error("ERR_OPTION", "`dtype` of a tensorrt engine must be float32, float16 or bfloat16, got " +
                                std::string(name_of(dtype)));
}

std::byte* WeightStore::keep(size_t bytes) {
  return kept_.emplace_back(bytes).data();
}

nvinfer1::Weights WeightStore::load(const WeightSpec& weight, DType as) {
  const WeightReader::Stored stored = reader_->read(weight);
  if (stored.dtype == DType::Int8) {
    throw Error("ERR_ENGINE_BACKEND", weight.name +
                                          " is stored as int8, which only the cpu backend reads; build the "
                                          "engine with `dtype` \"bfloat16\"");
  }
  const int64_t count =
      std::accumulate(weight.shape.begin(), weight.shape.end(), int64_t{1}, std::multiplies<>());
  if (stored.dtype == as) return {data_type(as), stored.data, count};
  const auto elements = static_cast<size_t>(count);
  std::byte* converted = keep(elements * size_of(as));
  for (size_t i = 0; i < elements; ++i) {
    const float value = element(stored.dtype, stored.data, i);
    set_element(as, converted, i, value);
    // Biases lie in the file as float32, so the build of that has not seen it.
    if (as == DType::Float16 && !std::isfinite(element(as, converted, i))) {
      throw Error("ERR_OPTION", "`dtype` \"float16\" cannot hold " + weight.name + ", which has a " +
                                    beyond_float16(&value, 1) + "; use \"bfloat16\"");
    }
  }
  return {data_type(as), converted, count};
}

nvinfer1::Weights WeightStore::filled(size_t count, float value, DType as) {
  std::byte* data = keep(count * size_of(as));
  for (size_t i = 0; i < count; ++i) set_element(as, data, i, value);
  return {data_type(as), data, static_cast<int64_t>(count)};
}

nvinfer1::Weights WeightStore::integer(int32_t value) {
  std::byte* data = keep(sizeof value);
  std::memcpy(data, &value, sizeof value);
  return {nvinfer1::DataType::kINT32, data, 1};
}

size_t WeightStore::bytes() const {
  size_t total = 0;
  for (const std::vector<std::byte>& block : kept_) total += block.size();
  return total;
}

}  // namespace kraken::tensorrt
