// What a step of a Graph holds at once, estimated from the Graph alone: for plans made where the backend that
// will run it is not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "model/graph.h"

namespace kraken {

// Bytes of the tensors that live at the same time, at the worst op of a step with T = tokens and B = rows:
// from the op that makes a tensor to the last that reads it. `element_bytes` of all but the logits, which are
// float32. A backend's own scratch is not counted, nor what it fuses away.
size_t activation_bytes(const Graph& graph, int64_t tokens, int64_t rows, size_t element_bytes);

// How many ops there are of each kind.
std::map<std::string, int> count_ops(const Graph& graph);

}  // namespace kraken
