#include "weights/rank_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "weights/int8_rows.h"

namespace kraken {
namespace {

constexpr int64_t kBufferElements = int64_t{1} << 20;

int64_t product(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

// A tensor of the file: a weight, or the scales of an int8 matrix.
struct StoredTensor {
  const WeightSpec* weight;
  bool is_scales;
  DType dtype;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // in the file's body

  std::string name() const { return is_scales ? int8_scales_name(weight->name) : weight->name; }
  uint64_t bytes() const { return static_cast<uint64_t>(product(shape)) * size_of(dtype); }
};

DType stored_dtype(WeightRole role, DType dtype) {
  if (role == WeightRole::Vector) return DType::Float32;
  return role == WeightRole::Table && dtype == DType::Int8 ? DType::BFloat16 : dtype;
}

// In the order of the file: the widest elements first.
std::vector<StoredTensor> stored_tensors(const Graph& graph, DType dtype) {
  std::vector<StoredTensor> tensors;
  for (const WeightSpec& weight : graph.weights) {
    const DType stored = stored_dtype(weight.role, dtype);
    tensors.push_back({&weight, false, stored, weight.shape});
    if (stored != DType::Int8) continue;
    if (weight.shape.back() > kMostInt8Columns) {
      throw Error("ERR_OPTION", "`dtype` \"int8\" takes rows of at most " + std::to_string(kMostInt8Columns) +
                                    " weights, but those of " + weight.name + " have " +
                                    std::to_string(weight.shape.back()) + "; use \"bfloat16\"");
    }
    tensors.push_back({&weight, true, DType::Float32, {weight.shape.begin(), weight.shape.end() - 1}});
  }
  std::ranges::stable_sort(tensors, std::greater(), [](const StoredTensor& t) { return size_of(t.dtype); });
  uint64_t offset = 0;
  for (StoredTensor& tensor : tensors) {
    tensor.offset = offset;
    offset += tensor.bytes();
  }
  return tensors;
}

// Errors name the path and the reason.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail("create");
  }
  ~OutputFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(const void* data, size_t bytes, uint64_t offset) {
    const auto* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t written = ::pwrite(fd_, at, bytes, static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail("write");
      at += written;
      offset += static_cast<uint64_t>(written);
      bytes -= static_cast<size_t>(written);
    }
  }

  void finish() {
    if (::fsync(fd_) != 0) fail("flush");
    const int fd = fd_;
    fd_ = -1;
    if (::close(fd) != 0) fail("close");
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    const int error = errno;
    throw Error("ERR_IO", std::string("cannot ") + what + " " + path_ + ": " + std::strerror(error));
  }
  std::string path_;
  int fd_;
};

const char* safetensors_name(DType dtype) {
  switch (dtype) {
    case DType::Float32:
      return "F32";
    case DType::Float16:
      return "F16";
    case DType::BFloat16:
      return "BF16";
    case DType::Int8:
      return "I8";
  }
  internal_error("dtype out of range");
}

std::string header_of(const std::vector<StoredTensor>& tensors) {
  nlohmann::ordered_json header;
  for (const StoredTensor& tensor : tensors) {
    header[tensor.name()] = {{"dtype", safetensors_name(tensor.dtype)},
                             {"shape", tensor.shape},
                             {"data_offsets", {tensor.offset, tensor.offset + tensor.bytes()}}};
  }
  std::string text = header.dump();
  text.append((64 - (text.size() + 8) % 64) % 64, ' ');  // tensors start at a multiple of 64
  return text;
}

// Converts float32 values to the stored dtype and writes them from `offset` on. Of int8: whole rows at a
// time; their scales are collected.
class ElementWriter {
 public:
  ElementWriter(OutputFile& file, const StoredTensor& tensor, uint64_t offset,
                const std::function<void(uint64_t)>& advance)
      : file_(file), tensor_(tensor), offset_(offset), advance_(advance) {}

  // `source`: of the checkpoint, for messages.
  void write(const float* values, int64_t count, const std::string& source) {
    const auto n = static_cast<size_t>(count);
    if (tensor_.dtype == DType::Float32) {
      append(values, n * sizeof(float));
    } else if (tensor_.dtype == DType::Int8) {
      const int64_t k = tensor_.shape.back();
      KRAKEN_CHECK(count % k == 0);
      rows_.resize(n);
      for (int64_t i = 0; i < count; i += k)
        scales_.push_back(quantise_int8_row(values + i, k, rows_.data() + i));
      append(rows_.data(), n);
    } else {
      rounded_.resize(n);
      if (tensor_.dtype == DType::BFloat16) {
        std::ranges::transform(values, values + count, rounded_.begin(), float_to_bfloat16);
      } else if (!floats_to_float16(values, n, rounded_.data())) {
        throw Error("ERR_OPTION", "`dtype` \"float16\" cannot hold " + source + ", which has a " +
                                      beyond_float16(values, n) + "; use \"bfloat16\"");
      }
      append(rounded_.data(), n * sizeof(uint16_t));
    }
  }

  const std::vector<float>& scales() const { return scales_; }

 private:
  void append(const void* data, size_t bytes) {
    file_.write(data, bytes, offset_);
    offset_ += bytes;
    advance_(bytes);
  }

  OutputFile& file_;
  const StoredTensor& tensor_;
  uint64_t offset_;
  const std::function<void(uint64_t)>& advance_;
  std::vector<uint16_t> rounded_;
  std::vector<int8_t> rows_;
  std::vector<float> scales_;
};

// Streams the weight's pieces, zeros where there are none.
void write_elements(const WeightSpec& weight, const TensorSources& sources, ElementWriter& out,
                    std::vector<float>& buffer) {
  // Whole rows, so that int8 can scale them.
  const int64_t row = weight.shape.back(), most = std::max(int64_t{1}, kBufferElements / row) * row;
  if (buffer.size() < static_cast<size_t>(most)) buffer.resize(static_cast<size_t>(most));
  int64_t written = 0;
  const auto zeros_until = [&](int64_t end) {
    KRAKEN_CHECK(end >= written);
    while (written < end) {
      const int64_t count = std::min(end - written, most);
      std::fill_n(buffer.begin(), count, 0.0f);
      out.write(buffer.data(), count, weight.name);
      written += count;
    }
  };
  for (const WeightPiece& piece : weight.pieces) {
    zeros_until(piece.offset);
    const TensorSource& source = sources.get(piece.source);
    const int64_t size = product(piece.size);
    for (int64_t first = 0; first < size; first += most) {
      const int64_t count = std::min(size - first, most);
      read_piece(source, piece, first, count, buffer.data());
      out.write(buffer.data(), count, piece.source);
    }
    release(source);
    written += size;
  }
  zeros_until(product(weight.shape));
}

}  // namespace

uint64_t rank_bytes(const Graph& graph, DType dtype) {
  uint64_t bytes = 0;
  for (const StoredTensor& tensor : stored_tensors(graph, dtype)) bytes += tensor.bytes();
  return bytes;
}

void write_rank_file(const Graph& graph, const TensorSources& sources, DType dtype, const std::string& path,
                     const std::function<void(uint64_t)>& advance) {
  const std::vector<StoredTensor> tensors = stored_tensors(graph, dtype);
  OutputFile file(path);
  const std::string header = header_of(tensors);
  const uint64_t header_bytes = header.size(), body = sizeof header_bytes + header_bytes;
  file.write(&header_bytes, sizeof header_bytes, 0);
  file.write(header.data(), header.size(), sizeof header_bytes);

  std::vector<float> buffer;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.is_scales) continue;  // written with its matrix
    ElementWriter out(file, tensor, body + tensor.offset, advance);
    write_elements(*tensor.weight, sources, out, buffer);
    if (tensor.dtype != DType::Int8) continue;
    const auto scales = std::ranges::find_if(
        tensors, [&](const StoredTensor& other) { return other.is_scales && other.weight == tensor.weight; });
    KRAKEN_CHECK(scales != tensors.end() && out.scales().size() * sizeof(float) == scales->bytes());
    file.write(out.scales().data(), scales->bytes(), body + scales->offset);
    advance(scales->bytes());
  }
  file.finish();
}

}  // namespace kraken
