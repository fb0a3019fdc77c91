#include "addon/plan.h"

#include <cstdint>

#include "addon/errors.h"
#include "backend/backend.h"
#include "base/dtype.h"
#include "base/error.h"
#include "model/graph.h"
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

    Napi::Object result = Napi::Object::New(env);
    Napi::Array ranks = Napi::Array::New(env);
    for (int rank = 0; rank < count; ++rank) {
      const Graph graph = build_graph(config, {rank, count, true});
      const size_t kv = backend.kv_block_bytes(graph, dtype) / static_cast<size_t>(backend.kv_block_tokens());
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("weightBytes", static_cast<double>(rank_bytes(graph, dtype)));
      entry.Set("kvBytesPerToken", static_cast<double>(kv));
      entry.Set("ops", static_cast<double>(graph.ops.size()));
      ranks.Set(static_cast<uint32_t>(rank), entry);
      if (rank == 0) result.Set("graph", describe(graph));
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
