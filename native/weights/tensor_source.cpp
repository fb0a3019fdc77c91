#include "weights/tensor_source.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace kraken {
namespace {

using Json = nlohmann::json;

uint64_t fnv1a(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return hash;
}

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;

// splitmix64 of the i-th state; the sum of four 16-bit uniforms is close enough to normal for random weights,
// and exact integer arithmetic makes it identical everywhere.
float random_element(const RandomSource& source, uint64_t index) {
  uint64_t z = source.key + (index + 1) * kGolden;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  const auto sum =
      static_cast<int64_t>((z & 0xffff) + ((z >> 16) & 0xffff) + ((z >> 32) & 0xffff) + (z >> 48));
  constexpr double deviation = 37837.2271;  // √((65536² − 1) / 3)
  return static_cast<float>(source.std * static_cast<double>(sum - 131070) / deviation);
}

template <typename Load>
void read_strided(const std::byte* data, int64_t stride, int64_t count, size_t element, float* out,
                  Load load) {
  const auto step = stride * static_cast<int64_t>(element);
  for (int64_t i = 0; i < count; ++i) out[i] = load(data + i * step);
}

// One run of elements along the last dimension.
void read_run(const FileSource& source, int64_t element, int64_t stride, int64_t count, float* out) {
  const size_t size = size_of(source.dtype);
  const std::byte* data = source.file->data() + source.offset + static_cast<size_t>(element) * size;
  const auto load16 = [](const std::byte* at) {
    uint16_t bits;
    std::memcpy(&bits, at, sizeof bits);
    return bits;
  };
  switch (source.dtype) {
    case DType::Float32:
      if (stride == 1) {
        std::memcpy(out, data, static_cast<size_t>(count) * sizeof(float));
      } else {
        read_strided(data, stride, count, size, out, [](const std::byte* at) {
          float value;
          std::memcpy(&value, at, sizeof value);
          return value;
        });
      }
      return;
    case DType::BFloat16:
      read_strided(data, stride, count, size, out,
                   [&](const std::byte* at) { return bfloat16_to_float(load16(at)); });
      return;
    case DType::Float16:
      read_strided(data, stride, count, size, out,
                   [&](const std::byte* at) { return float16_to_float(load16(at)); });
      return;
    case DType::Int8:
      internal_error("checkpoints are not read as int8");
  }
}

// Bytes from the first element to the end of the last, all of them within the file.
uint64_t checked_extent(const TensorSource& tensor, const FileSource& source) {
  int64_t last = 0;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] < 1 || source.strides[i] < 0) {
      throw Error("ERR_CHECKPOINT_FORMAT", tensor.name + ": extents and strides must not be negative");
    }
    last += (tensor.shape[i] - 1) * source.strides[i];
  }
  const uint64_t extent = (static_cast<uint64_t>(last) + 1) * size_of(source.dtype);
  if (source.offset + extent > source.file->size()) {
    throw Error("ERR_CHECKPOINT_FORMAT", tensor.name + " lies beyond the end of " + source.file->path() +
                                             ": the file is truncated or was changed");
  }
  return extent;
}

}  // namespace

TensorSources TensorSources::parse(const std::string& text) {
  TensorSources result;
  std::map<std::string, std::shared_ptr<MappedFile>> files;
  const Json json = Json::parse(text);
  for (const auto& [name, view] : json.items()) {
    TensorSource tensor{name, view.at("shape").get<std::vector<int64_t>>(), ConstantSource{}};
    const auto from = view.at("source").get<std::string>();
    if (from == "file") {
      FileSource source;
      const auto path = view.at("file").get<std::string>();
      auto& file = files[path];
      if (!file) file = std::make_shared<MappedFile>(path);
      source.file = file;
      source.offset = view.at("offset").get<uint64_t>();
      source.dtype = parse_dtype(view.at("dtype").get<std::string>());
      source.strides = view.at("strides").get<std::vector<int64_t>>();
      KRAKEN_CHECK(source.strides.size() == tensor.shape.size());
      source.extent = checked_extent(tensor, source);
      tensor.from = std::move(source);
    } else if (from == "random") {
      const auto seed = view.at("seed").get<uint64_t>();
      tensor.from =
          RandomSource{fnv1a(view.value("name", name)) ^ (seed * kGolden), view.at("std").get<double>()};
    } else {
      KRAKEN_CHECK(from == "constant");
      tensor.from = ConstantSource{view.at("value").get<float>()};
    }
    result.sources_.emplace(name, std::move(tensor));
  }
  return result;
}

const TensorSource& TensorSources::get(const std::string& name) const {
  const auto found = sources_.find(name);
  if (found == sources_.end()) throw Error("ERR_CHECKPOINT_TENSORS", "the checkpoint lacks " + name);
  return found->second;
}

void read_piece(const TensorSource& tensor, const WeightPiece& piece, int64_t first, int64_t count,
                float* out) {
  const size_t rank = tensor.shape.size();
  KRAKEN_CHECK(piece.begin.size() == rank && piece.size.size() == rank && rank > 0);
  for (size_t i = 0; i < rank; ++i) {
    if (piece.begin[i] + piece.size[i] > tensor.shape[i]) {
      throw Error("ERR_CHECKPOINT_TENSORS", tensor.name + " is smaller than its configuration says");
    }
  }
  const int64_t run = piece.size[rank - 1];
  for (int64_t done = 0; done < count;) {
    const int64_t at = first + done;
    const int64_t column = at % run;
    const int64_t length = std::min(run - column, count - done);
    // Element index of (…, column) within the whole tensor: row-major, and by the file's strides.
    int64_t rest = at / run, row_major = 0, strided = 0, extent = 1;
    const auto* file = std::get_if<FileSource>(&tensor.from);
    for (size_t i = rank; i-- > 0;) {
      int64_t index = piece.begin[i] + column;
      if (i + 1 < rank) {
        index = piece.begin[i] + rest % piece.size[i];
        rest /= piece.size[i];
      }
      row_major += index * extent;
      extent *= tensor.shape[i];
      if (file != nullptr) strided += index * file->strides[i];
    }
    float* to = out + done;
    if (file != nullptr) {
      read_run(*file, strided, file->strides[rank - 1], length, to);
    } else if (const auto* random = std::get_if<RandomSource>(&tensor.from)) {
      for (int64_t i = 0; i < length; ++i)
        to[i] = random_element(*random, static_cast<uint64_t>(row_major + i));
    } else {
      std::fill_n(to, length, std::get<ConstantSource>(tensor.from).value);
    }
    done += length;
  }
  // x − x is 0 for finite x and NaN otherwise, so one sum finds any bad element and vectorises.
  float poison = 0;
  for (int64_t i = 0; i < count; ++i) poison += out[i] - out[i];
  if (!(poison == 0)) {
    throw Error("ERR_CHECKPOINT_VALUES", tensor.name +
                                             " holds NaN or infinite values: the training run diverged, or "
                                             "the file was written wrongly");
  }
}

void release(const TensorSource& tensor) {
  if (const auto* source = std::get_if<FileSource>(&tensor.from)) {
    source->file->release(source->offset, source->extent);
  }
}

}  // namespace kraken
