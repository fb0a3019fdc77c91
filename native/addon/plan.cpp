#include "addon/plan.h"

#include <cstdint>

#include "addon/errors.h"
#include "backend/backend.h"
#include "base/dtype.h"
#include "base/error.h"
#include "model/graph.h"
#include "model/graph_memory.h"
#include "runtime/limits.h"
#include "weights/rank_writer.h"

namespace kraken::addon {
namespace {

constexpr int kMostRanks = 64;

}  // namespace

Napi::Value plan(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    KRAKEN_CHECK(info.Length() >= 1 && info[0].IsObject());
    const Napi::Object options = info[0].As<Napi::Object>();
    const ModelConfig config = parse_model_config(to_json(options.Get("config")));
    const Backend& backend = find_backend(string_field(options, "backend"));
    const DType dtype = parse_dtype(string_field(options, "dtype"));
    const int count = int_field(options, "ranks");
    const int64_t sequences = int_field(options, "maxBatchSize"),
                  tokens = int_field(options, "maxStepTokens");
    const int64_t context = int_field(options, "maxSequenceLength");
    const int64_t rows = rows_of_step(static_cast<int32_t>(sequences), static_cast<int32_t>(tokens));
    const int64_t block = backend.kv_block_tokens();
    const int64_t blocks = sequences * ((context + block - 1) / block);

    Napi::Object result = Napi::Object::New(env);
    Napi::Array ranks = Napi::Array::New(env);
    for (int rank = 0; rank < count; ++rank) {
      const Graph graph = backend.as_run(build_graph(config, {rank, count, true}));
      const size_t block_bytes = backend.kv_block_bytes(graph, dtype);
      const size_t stored = rank_bytes(graph, dtype), element = size_of(backend.compute_dtype(dtype));
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("weightBytes", static_cast<double>(stored));
      entry.Set("loadedWeightBytes", static_cast<double>(loaded_weight_bytes(backend, dtype, stored)));
      entry.Set("kvBytesPerToken", static_cast<double>(block_bytes / static_cast<size_t>(block)));
      entry.Set("kvCacheBytes", static_cast<double>(block_bytes) * static_cast<double>(blocks));
      entry.Set("activationBytes", static_cast<double>(activation_bytes(graph, tokens, rows, element)));
      entry.Set("exchangeBytes", static_cast<double>(backend.exchange_bytes(graph, dtype, tokens)));
      entry.Set("ops", static_cast<double>(graph.ops.size()));
      ranks.Set(static_cast<uint32_t>(rank), entry);
      if (rank > 0) continue;
      result.Set("graph", describe(graph));
      Napi::Object network = Napi::Object::New(env);
      for (const auto& [kind, ops] : count_ops(graph)) network.Set(kind, ops);
      result.Set("network", network);
    }
    Napi::Array valid = Napi::Array::New(env);
    for (const int ranks_possible : valid_rank_counts(config, kMostRanks)) {
      valid.Set(valid.Length(), Napi::Number::New(env, ranks_possible));
    }
    result.Set("ranks", ranks);
    result.Set("validRanks", valid);
    return result;
  });
}

}  // namespace kraken::addon
