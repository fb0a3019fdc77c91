#include "weights/rank_file.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace kraken {
namespace {

using Json = nlohmann::json;

DType dtype_of(const std::string& name) {
  if (name == "F32") return DType::Float32;
  if (name == "BF16") return DType::BFloat16;
  if (name == "F16") return DType::Float16;
  if (name == "I8") return DType::Int8;
  throw Error("ERR_ENGINE_CORRUPT", "unexpected dtype " + name);
}

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

RankFile RankFile::open(const std::string& path) {
  RankFile file;
  file.path_ = path;
  file.file_ = std::make_shared<MappedFile>(path);
  const auto corrupt = [&path](const std::string& why) {
    return Error("ERR_ENGINE_CORRUPT", path + " is damaged (" + why + "); build the engine again");
  };
  const std::byte* data = file.file_->data();
  const size_t size = file.file_->size();
  uint64_t header_bytes = 0;
  if (size < sizeof header_bytes) throw corrupt("no header");
  std::memcpy(&header_bytes, data, sizeof header_bytes);
  if (header_bytes > size - sizeof header_bytes) throw corrupt("header longer than the file");
  const std::byte* body = data + sizeof header_bytes + header_bytes;
  const uint64_t body_bytes = size - sizeof header_bytes - header_bytes;
  try {
    const auto* text = reinterpret_cast<const char*>(data + sizeof header_bytes);
    const Json header = Json::parse(text, text + header_bytes);
    for (const auto& [name, tensor] : header.items()) {
      if (name == "__metadata__") continue;
      const auto offsets = tensor.at("data_offsets").get<std::vector<uint64_t>>();
      Entry entry{dtype_of(tensor.at("dtype").get<std::string>()),
                  tensor.at("shape").get<std::vector<int64_t>>(), nullptr, 0};
      if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > body_bytes) {
        throw corrupt(name + " lies outside the file");
      }
      uint64_t bytes = size_of(entry.dtype);
      for (const int64_t extent : entry.shape) bytes *= static_cast<uint64_t>(extent);
      if (bytes != offsets[1] - offsets[0]) throw corrupt(name + " has another size than its shape says");
      entry.data = body + offsets[0];
      entry.bytes = bytes;
      file.entries_.emplace(name, std::move(entry));
    }
  } catch (const Json::exception& error) {
    throw corrupt(error.what());
  }
  return file;
}

const RankFile::Entry& RankFile::get(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    throw Error("ERR_ENGINE_CORRUPT", path_ + " lacks " + name + "; build the engine again");
  if (found->second.shape != shape) {
    throw Error("ERR_ENGINE_CORRUPT", path_ + ": " + name + " has shape " + text_of(found->second.shape) +
                                          ", expected " + text_of(shape) + "; build the engine again");
  }
  return found->second;
}

void RankFile::read(const Entry& entry, size_t offset, void* to, size_t bytes) const {
  KRAKEN_CHECK(offset + bytes <= entry.bytes);
  file_->read(static_cast<size_t>(entry.data - file_->data()) + offset, to, bytes);
}

void RankFile::release(const Entry& entry) const {
  file_->release(static_cast<size_t>(entry.data - file_->data()), entry.bytes);
}

}  // namespace kraken
