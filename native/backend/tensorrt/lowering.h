// Lowers a rank's Graph to a strongly typed TensorRT network, op by op: what an exchange or the paged cache
// touches becomes a plugin (plugins/), everything else layers that TensorRT fuses as it sees fit.
//
//   inputs   ids[T], positions[T], sequence_begins[S+1] (the first 0, the last T), past_lengths[S],
//            block_tables[S,P], wanted_rows[B]; all int32
//   output   logits[B,V_r], float32: this rank's columns of the vocabulary, gathered by the host
//
// T tokens of a step, packed; S sequences; P blocks of the longest; B rows whose logits are wanted, at least
// one: a step that wants none names any.
//
// Where JoinNorms end the exchanges, a step must end in a blocking sum
// (communicator/overlapped_communicator.h): a Kraken's conjunction is one.
#pragma once

#include <NvInfer.h>

#include "backend/tensorrt/weight_reader.h"
#include "backend/tensorrt/weight_store.h"
#include "model/graph.h"

namespace kraken::tensorrt {

inline constexpr const char* kIds = "ids";
inline constexpr const char* kPositions = "positions";
inline constexpr const char* kSequenceBegins = "sequence_begins";
inline constexpr const char* kPastLengths = "past_lengths";
inline constexpr const char* kBlockTables = "block_tables";
inline constexpr const char* kWantedRows = "wanted_rows";
inline constexpr const char* kLogits = "logits";

// What the plugins' kernels take (plugins/kernels/attention.h and types.h).
inline constexpr int kMaxHeadDim = 256, kMaxWidth = 16384;

// Of the engine, and bounds of its steps.
struct LoweringOptions {
  DType dtype = DType::BFloat16;  // of matrices, tables and activations; norms compute in float32
  int max_tokens = 0;             // T
  int max_sequences = 0;          // S
  int max_rows = 0;               // B
  int max_context = 0;            // tokens of the longest sequence
  int block_tokens = 64;          // of a KV block
  int blocks() const { return (max_context + block_tokens - 1) / block_tokens; }  // P
};

// An empty network of the kind that lower() takes. Null where the builder refuses.
nvinfer1::INetworkDefinition* create_network(nvinfer1::IBuilder& builder);

// Fills an empty network. Kraken's plugins must be in the registry of its builder. What is returned holds
// weights that the network points at: keep it, and the reader, until the engine is built.
//
// Throws ERR_OPTION (int8), ERR_BACKEND_UNAVAILABLE (a plugin is missing, or a size is more than they take),
// ERR_ENGINE_BACKEND (weights stored as int8), what the reader throws, and ERR_INTERNAL naming the op where
// TensorRT refuses a layer or makes another shape of it than the Graph says; TensorRT's message is in the
// log.
[[nodiscard]] WeightStore lower(const Graph& graph, const WeightReader& weights,
                                const LoweringOptions& options, nvinfer1::INetworkDefinition& network);

// The same for another runtime: its inputs, attention and logits.
class RuntimeInterface;
[[nodiscard]] WeightStore lower(const Graph& graph, const WeightReader& weights,
                                const LoweringOptions& options, nvinfer1::INetworkDefinition& network,
                                RuntimeInterface& runtime);

// The profiles that configure() adds, in this order.
enum Profile : int {
  kPrefill = 0,  // any step within the options' bounds; fastest for one long prompt
  kDecode = 1,   // T = S = B, at most max_sequences
};

// What the network needs of the builder's configuration: one stream, so that no plugin runs beside another,
// products of float32 in float32 (TensorRT's default is TF32, with 10 bits of mantissa), and the profiles.
// Timing cache and progress monitor are the caller's.
void configure(nvinfer1::IBuilder& builder, const LoweringOptions& options, nvinfer1::IBuilderConfig& config);

}  // namespace kraken::tensorrt
