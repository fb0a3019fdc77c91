// What ranks on other hosts need of an engine directory's config.json: that it is the same engine, and what
// their rank's file must be. lib/engine-directory.ts checks the rest.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

namespace kraken {

struct EngineManifest {
  struct File {
    uint64_t bytes = 0;
    std::string sha256;  // lower-case hex
  };
  std::string digest;  // SHA-256 of config.json, which records those of all files
  std::map<std::string, File> files;
};

// Throws ERR_ENGINE_PATH when the directory has none, ERR_ENGINE_CORRUPT.
EngineManifest read_engine_manifest(const std::string& directory);

// Throws ERR_ENGINE_CORRUPT when the file is missing or of another size …
void check_size(const std::string& directory, const EngineManifest& manifest, const std::string& file);
// … or has other bytes. Returns early, having checked nothing, once `cancelled` is true.
void check_hash(const std::string& directory, const EngineManifest& manifest, const std::string& file,
                const std::atomic<bool>& cancelled);

}  // namespace kraken
