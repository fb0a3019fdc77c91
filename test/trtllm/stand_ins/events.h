// What the stand-ins for TensorRT's, NVIDIA's and our own libraries were asked, one line each, in the file
// that KRAKEN_DOUBLE_EVENTS names with the rank behind it: for tests of the order in which a rank is set up.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

inline void event(const std::string& what) {
  const char* file = std::getenv("KRAKEN_DOUBLE_EVENTS");
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (file == nullptr || rank == nullptr) return;
  if (std::FILE* out = std::fopen((std::string(file) + "." + rank).c_str(), "a")) {
    std::fprintf(out, "%s\n", what.c_str());
    std::fclose(out);
  }
}

#define STAND_IN extern "C" __attribute__((visibility("default")))
