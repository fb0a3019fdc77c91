#include "hosts/engine_manifest.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "comm/tcp/sha256.h"

namespace kraken {
namespace {

constexpr size_t kReadAtOnce = 1 << 20;
constexpr char kRemedy[] = ": put the engine there again (kraken build --push)";

const EngineManifest::File& file_of(const std::string& directory, const EngineManifest& manifest,
                                    const std::string& file) {
  const auto found = manifest.files.find(file);
  if (found != manifest.files.end()) return found->second;
  throw Error("ERR_ENGINE_CORRUPT", directory + "/config.json names no " + file);
}

}  // namespace

EngineManifest read_engine_manifest(const std::string& directory) {
  const std::string path = directory + "/config.json";
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  if (!stream || !(text << stream.rdbuf())) {
    throw Error(
        "ERR_ENGINE_PATH",
        path +
            " cannot be read: every host needs the engine at the same path (kraken build --push, or a "
            "shared folder)");
  }
  const std::string bytes = text.str();
  EngineManifest manifest;
  manifest.digest = to_hex(sha256({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}));
  try {
    const nlohmann::json document = nlohmann::json::parse(bytes);
    for (const auto& [name, file] : document.at("files").items()) {
      manifest.files[name] = {file.at("bytes").get<uint64_t>(), file.at("sha256").get<std::string>()};
    }
  } catch (const nlohmann::json::exception&) {
    throw Error("ERR_ENGINE_CORRUPT", path + " is not the manifest of an engine" + kRemedy);
  }
  return manifest;
}

void check_size(const std::string& directory, const EngineManifest& manifest, const std::string& file) {
  const uint64_t expected = file_of(directory, manifest, file).bytes;
  const std::string path = directory + "/" + file;
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  if (error) throw Error("ERR_ENGINE_CORRUPT", path + " is missing" + kRemedy);
  if (bytes == expected) return;
  throw Error("ERR_ENGINE_CORRUPT", path + " has " + std::to_string(bytes) + " bytes, its manifest records " +
                                        std::to_string(expected) + kRemedy);
}

void check_hash(const std::string& directory, const EngineManifest& manifest, const std::string& file,
                const std::atomic<bool>& cancelled) {
  const std::string path = directory + "/" + file;
  std::ifstream stream(path, std::ios::binary);
  std::vector<uint8_t> bytes(kReadAtOnce);
  Sha256 hash;
  while (stream && !cancelled) {
    stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    hash.update({bytes.data(), static_cast<size_t>(stream.gcount())});
  }
  if (cancelled) return;
  if (stream.bad() || !stream.eof()) throw Error("ERR_IO", "cannot read " + path);
  if (to_hex(hash.finish()) == file_of(directory, manifest, file).sha256) return;
  throw Error("ERR_ENGINE_CORRUPT", path + " has changed since it was built (SHA-256 differs)" + kRemedy);
}

}  // namespace kraken
