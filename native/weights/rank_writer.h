// Writes one rank's engine file: safetensors with the Graph's weights, the widest elements first (which keeps
// every tensor aligned to its element size).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "model/graph.h"
#include "weights/tensor_source.h"

namespace kraken {

// Bytes of the weights a rank stores. Throws ERR_OPTION when the dtype cannot hold such rows.
uint64_t rank_bytes(const Graph& graph, DType dtype);

// `advance(bytes)` is called after every buffer. Throws ERR_IO, ERR_OPTION when the dtype cannot hold a
// value, and what reading throws.
void write_rank_file(const Graph& graph, const TensorSources& sources, DType dtype, const std::string& path,
                     const std::function<void(uint64_t bytes)>& advance);

}  // namespace kraken
