// Device memory with elements of a kernel's dtype, seen from the host as float64.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>
#include <memory>
#include <random>

#include "check.h"
#include "types.h"

namespace kraken::test {

using kernels::DType;

inline const char* short_name(DType dtype) {
  return dtype == DType::Float32 ? "f32" : dtype == DType::Float16 ? "f16" : "bf16";
}
constexpr DType kDTypes[] = {DType::Float32, DType::Float16, DType::BFloat16};

// Of a value that was computed in float32 and rounded once, relative to 1 + its magnitude.
inline double rounding(DType dtype) {
  return dtype == DType::Float32 ? 4e-6 : dtype == DType::Float16 ? 5.2e-4 : 4.1e-3;
}

inline void encode(DType dtype, float value, char* to) {
  if (dtype == DType::Float32) {
    std::memcpy(to, &value, 4);
  } else if (dtype == DType::Float16) {
    const __half half = __float2half_rn(value);
    std::memcpy(to, &half, 2);
  } else {
    const __nv_bfloat16 bfloat = __float2bfloat16_rn(value);
    std::memcpy(to, &bfloat, 2);
  }
}

inline double decode(DType dtype, const char* from) {
  if (dtype == DType::Float32) {
    float value;
    std::memcpy(&value, from, 4);
    return static_cast<double>(value);
  }
  if (dtype == DType::Float16) {
    __half half;
    std::memcpy(&half, from, 2);
    return static_cast<double>(__half2float(half));
  }
  __nv_bfloat16 bfloat;
  std::memcpy(&bfloat, from, 2);
  return static_cast<double>(__bfloat162float(bfloat));
}

// As rounded to the dtype.
inline double rounded(DType dtype, double value) {
  char bytes[4];
  encode(dtype, static_cast<float>(value), bytes);
  return decode(dtype, bytes);
}

struct FreeDevice {
  void operator()(char* pointer) const { cudaFree(pointer); }
};
using DeviceMemory = std::unique_ptr<char, FreeDevice>;

inline DeviceMemory device_memory(size_t bytes) {
  void* pointer = nullptr;
  KRAKEN_CUDA(cudaMalloc(&pointer, bytes));
  return DeviceMemory(static_cast<char*>(pointer));
}

// `offset` elements in front make the data as unaligned as memory of a user's may be.
class Array {
 public:
  Array(DType dtype, int64_t count, int64_t offset = 0)
      : dtype_(dtype),
        count_(static_cast<size_t>(count)),
        offset_(static_cast<size_t>(offset) * element()),
        memory_(device_memory(offset_ + count_ * element() + (count == 0 ? 1 : 0))) {
    fill_with_nan();
  }

  void* data() const { return memory_.get() + offset_; }
  size_t size() const { return count_; }
  DType dtype() const { return dtype_; }

  void upload(const std::vector<double>& values) {
    std::vector<char> bytes(count_ * element());
    for (size_t i = 0; i < count_; ++i) encode(dtype_, static_cast<float>(values[i]), &bytes[i * element()]);
    KRAKEN_CUDA(cudaMemcpy(data(), bytes.data(), bytes.size(), cudaMemcpyDefault));
    KRAKEN_CUDA(cudaStreamSynchronize(nullptr));  // streams of ranks do not wait for the default one
  }

  std::vector<double> download() const {
    std::vector<char> bytes(count_ * element());
    KRAKEN_CUDA(cudaMemcpy(bytes.data(), data(), bytes.size(), cudaMemcpyDefault));
    std::vector<double> values(count_);
    for (size_t i = 0; i < count_; ++i) values[i] = decode(dtype_, &bytes[i * element()]);
    return values;
  }

  // What a kernel leaves out is seen.
  void fill_with_nan() {
    KRAKEN_CUDA(cudaMemset(memory_.get(), 0xff, offset_ + count_ * element()));
    KRAKEN_CUDA(cudaStreamSynchronize(nullptr));
  }

 private:
  size_t element() const { return static_cast<size_t>(kernels::size_of(dtype_)); }

  DType dtype_;
  size_t count_, offset_;
  DeviceMemory memory_;
};

// Normally distributed, and exactly representable in the dtype.
inline std::vector<double> random_values(DType dtype, int64_t count, uint32_t seed, double spread = 1,
                                         double mean = 0) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(mean, spread);
  std::vector<double> values(static_cast<size_t>(count));
  for (double& value : values) value = rounded(dtype, normal(generator));
  return values;
}

inline Array random_array(DType dtype, int64_t count, uint32_t seed, std::vector<double>& values,
                          double spread = 1, double mean = 0, int64_t offset = 0) {
  values = random_values(dtype, count, seed, spread, mean);
  Array array(dtype, count, offset);
  array.upload(values);
  return array;
}

}  // namespace kraken::test
