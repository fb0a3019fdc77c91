#include "weights/rank_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"

namespace kraken {
namespace {

constexpr int64_t kBufferElements = int64_t{1} << 20;

DType stored_dtype(const WeightSpec& weight, DType dtype) {
  return weight.role == WeightRole::Vector ? DType::Float32 : dtype;
}

int64_t elements(const WeightSpec& weight) {
  int64_t count = 1;
  for (const int64_t extent : weight.shape) count *= extent;
  return count;
}

std::vector<const WeightSpec*> in_file_order(const Graph& graph) {
  std::vector<const WeightSpec*> order;
  for (const WeightSpec& weight : graph.weights) order.push_back(&weight);
  std::ranges::stable_partition(order,
                                [](const WeightSpec* weight) { return weight->role == WeightRole::Vector; });
  return order;
}

// A file that is written front to back; errors name the path and the reason.
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

  void write(const void* data, size_t bytes) {
    const auto* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t written = ::write(fd_, at, bytes);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail("write");
      at += written;
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

std::string header_of(const std::vector<const WeightSpec*>& weights, DType dtype) {
  nlohmann::ordered_json header;
  uint64_t offset = 0;
  for (const WeightSpec* weight : weights) {
    const DType stored = stored_dtype(*weight, dtype);
    const uint64_t bytes = static_cast<uint64_t>(elements(*weight)) * size_of(stored);
    header[weight->name] = {{"dtype", stored == DType::Float32 ? "F32" : "BF16"},
                            {"shape", weight->shape},
                            {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.append((64 - (text.size() + 8) % 64) % 64, ' ');  // tensors start at a multiple of 64
  return text;
}

// Converts float32 values to the stored dtype and writes them.
class ElementWriter {
 public:
  ElementWriter(OutputFile& file, DType dtype, const std::function<void(uint64_t)>& advance)
      : file_(file), dtype_(dtype), advance_(advance) {}

  void write(const float* values, int64_t count) {
    const auto n = static_cast<size_t>(count);
    if (dtype_ == DType::Float32) {
      file_.write(values, n * sizeof(float));
    } else {
      rounded_.resize(n);
      std::ranges::transform(values, values + count, rounded_.begin(), float_to_bfloat16);
      file_.write(rounded_.data(), n * sizeof(uint16_t));
    }
    advance_(n * size_of(dtype_));
  }

 private:
  OutputFile& file_;
  DType dtype_;
  const std::function<void(uint64_t)>& advance_;
  std::vector<uint16_t> rounded_;
};

}  // namespace

uint64_t rank_bytes(const Graph& graph, DType dtype) {
  uint64_t bytes = 0;
  for (const WeightSpec& weight : graph.weights) {
    bytes += static_cast<uint64_t>(elements(weight)) * size_of(stored_dtype(weight, dtype));
  }
  return bytes;
}

void write_rank_file(const Graph& graph, const TensorSources& sources, DType dtype, const std::string& path,
                     const std::function<void(uint64_t)>& advance) {
  KRAKEN_CHECK(dtype == DType::Float32 || dtype == DType::BFloat16);
  const std::vector<const WeightSpec*> weights = in_file_order(graph);
  OutputFile file(path);
  const std::string header = header_of(weights, dtype);
  const uint64_t header_bytes = header.size();
  file.write(&header_bytes, sizeof header_bytes);
  file.write(header.data(), header.size());

  std::vector<float> buffer(static_cast<size_t>(kBufferElements));
  for (const WeightSpec* weight : weights) {
    ElementWriter out(file, stored_dtype(*weight, dtype), advance);
    int64_t written = 0;
    const auto zeros_until = [&](int64_t end) {
      KRAKEN_CHECK(end >= written);
      while (written < end) {
        const int64_t count = std::min(end - written, kBufferElements);
        std::fill_n(buffer.begin(), count, 0.0f);
        out.write(buffer.data(), count);
        written += count;
      }
    };
    for (const WeightPiece& piece : weight->pieces) {
      zeros_until(piece.offset);
      const TensorSource& source = sources.get(piece.source);
      int64_t size = 1;
      for (const int64_t extent : piece.size) size *= extent;
      for (int64_t first = 0; first < size; first += kBufferElements) {
        const int64_t count = std::min(size - first, kBufferElements);
        read_piece(source, piece, first, count, buffer.data());
        out.write(buffer.data(), count);
      }
      release(source);
      written += size;
    }
    zeros_until(elements(*weight));
  }
  file.finish();
}

}  // namespace kraken
