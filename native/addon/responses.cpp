#include "addon/responses.h"

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/error.h"

namespace kraken::addon {
namespace {

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::None:
      return "";
    case FinishReason::Stop:
      return "stop";
    case FinishReason::Length:
      return "length";
    case FinishReason::Cancelled:
      return "cancelled";
    case FinishReason::Error:
      return "error";
  }
  internal_error("finish reason out of range");
}

Request::Kind kind_of(const std::string& name) {
  if (name == "generate") return Request::Kind::Generate;
  if (name == "score") return Request::Kind::Score;
  if (name == "logits") return Request::Kind::Logits;
  if (name == "products") return Request::Kind::Products;
  if (name == "weight-read") return Request::Kind::WeightRead;
  internal_error("request kind " + name);
}

float float_field(const Napi::Object& object, const char* key) {
  return static_cast<float>(number_field(object, key));
}

SamplingParams to_sampling(const Napi::Object& object) {
  SamplingParams sampling;
  sampling.temperature = float_field(object, "temperature");
  sampling.top_k = int_field(object, "topK");
  sampling.top_p = float_field(object, "topP");
  sampling.min_p = float_field(object, "minP");
  sampling.repetition_penalty = float_field(object, "repetitionPenalty");
  sampling.presence_penalty = float_field(object, "presencePenalty");
  sampling.frequency_penalty = float_field(object, "frequencyPenalty");
  sampling.max_tokens = int_field(object, "maxTokens");
  sampling.min_tokens = int_field(object, "minTokens");
  sampling.logprobs = int_field(object, "logprobs");
  const Napi::Value seed = object.Get("seed");
  KRAKEN_CHECK(seed.IsBigInt());
  bool lossless = false;
  sampling.seed = seed.As<Napi::BigInt>().Uint64Value(&lossless);
  const Napi::Value bias = object.Get("logitBias");
  KRAKEN_CHECK(bias.IsArray());
  const Napi::Array pairs = bias.As<Napi::Array>();
  for (uint32_t i = 0; i < pairs.Length(); ++i) {
    const Napi::HandleScope scope(object.Env());
    const Napi::Array pair = pairs.Get(i).As<Napi::Array>();
    sampling.logit_bias.emplace_back(pair.Get(0u).As<Napi::Number>().Int32Value(),
                                     pair.Get(1u).As<Napi::Number>().FloatValue());
  }
  const Napi::Value stop = object.Get("stopTokens");
  KRAKEN_CHECK(stop.IsArray());
  const Napi::Array tokens = stop.As<Napi::Array>();
  for (uint32_t i = 0; i < tokens.Length(); ++i) {
    sampling.stop_tokens.push_back(tokens.Get(i).As<Napi::Number>().Int32Value());
  }
  return sampling;
}

// A Float32Array over the vector's own memory; copied where the host forbids external memory (Electron).
Napi::Float32Array to_float32_array(Napi::Env env, std::vector<float>&& values) {
  const size_t length = values.size(), bytes = length * sizeof(float);
  auto owner = std::make_unique<std::vector<float>>(std::move(values));
  napi_value buffer = nullptr;
  const napi_status status = napi_create_external_arraybuffer(
      env, owner->data(), bytes,
      [](napi_env, void*, void* hint) { delete static_cast<std::vector<float>*>(hint); }, owner.get(),
      &buffer);
  if (status == napi_ok) {
    owner.release();
    return Napi::Float32Array::New(env, length, Napi::ArrayBuffer(env, buffer), 0);
  }
  Napi::Float32Array copy = Napi::Float32Array::New(env, length);
  std::memcpy(copy.Data(), owner->data(), bytes);
  return copy;
}

Napi::Array to_javascript(Napi::Env env, const std::vector<Alternative>& alternatives) {
  Napi::Array array = Napi::Array::New(env, alternatives.size());
  for (uint32_t i = 0; i < alternatives.size(); ++i) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("token", alternatives[i].token);
    entry.Set("logprob", alternatives[i].logprob);
    array.Set(i, entry);
  }
  return array;
}

// Fields that say nothing are left out: most events are one token, and each field costs a property.
Napi::Object to_javascript(Napi::Env env, Response&& response) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("request", static_cast<double>(response.request));
  object.Set("sample", response.sample);
  object.Set("token", response.token);
  object.Set("logprob", response.logprob);
  object.Set("finish", name_of(response.finish));
  if (!response.alternatives.empty()) object.Set("alternatives", to_javascript(env, response.alternatives));
  if (response.finish == FinishReason::Error) {
    object.Set("errorCode", response.error_code);
    object.Set("errorMessage", response.error_message);
  }
  if (!response.values.empty()) {
    object.Set("values", to_float32_array(env, std::move(response.values)));
    object.Set("firstRow", response.first_row);
  }
  if (response.finish != FinishReason::None || response.first_token_ms > 0) {
    object.Set("queueMs", response.queue_ms);
    object.Set("firstTokenMs", response.first_token_ms);
    object.Set("totalMs", response.total_ms);
    object.Set("preemptions", response.preemptions);
    object.Set("cachedTokens", response.cached_tokens);
  }
  return object;
}

}  // namespace

Request to_request(const Napi::Object& object) {
  Request request;
  request.kind = kind_of(string_field(object, "kind"));
  const Napi::Value prompt = object.Get("prompt");
  KRAKEN_CHECK(prompt.IsTypedArray() && prompt.As<Napi::TypedArray>().TypedArrayType() == napi_int32_array);
  const Napi::Int32Array tokens = prompt.As<Napi::Int32Array>();
  request.prompt.assign(tokens.Data(), tokens.Data() + tokens.ElementLength());
  request.samples = int_field(object, "samples");
  const Napi::Value sampling = object.Get("sampling");
  if (sampling.IsObject()) request.sampling = to_sampling(sampling.As<Napi::Object>());
  return request;
}

Napi::Array to_javascript(Napi::Env env, std::vector<Response>&& responses) {
  Napi::Array array = Napi::Array::New(env, responses.size());
  for (uint32_t i = 0; i < responses.size(); ++i) {
    const Napi::HandleScope scope(env);
    array.Set(i, to_javascript(env, std::move(responses[i])));
  }
  return array;
}

Napi::Object to_javascript(Napi::Env env, const ExecutorStats& stats) {
  Napi::Object object = Napi::Object::New(env);
  const auto set = [&](const char* key, auto value) { object.Set(key, static_cast<double>(value)); };
  set("steps", stats.steps);
  set("promptTokens", stats.prompt_tokens);
  set("generatedTokens", stats.generated_tokens);
  set("finished", stats.finished);
  set("cancelled", stats.cancelled);
  set("failed", stats.failed);
  set("preemptions", stats.preemptions);
  set("running", stats.running);
  set("waiting", stats.waiting);
  set("kvBlocks", stats.kv_blocks);
  set("kvBlocksUsed", stats.kv_blocks_used);
  set("kvBlocksCached", stats.kv_blocks_cached);
  set("kvBlockTokens", stats.kv_block_tokens);
  set("prefixQueryTokens", stats.prefix_query_tokens);
  set("prefixHitTokens", stats.prefix_hit_tokens);
  set("stepMsTotal", stats.step_ms_total);
  set("weightBytes", stats.weight_bytes);
  set("kvBytes", stats.kv_bytes);
  set("activationBytes", stats.activation_bytes);
  const auto set_all = [&](const char* key, const std::vector<double>& values) {
    Napi::Array array = Napi::Array::New(env);
    for (const double value : values) array.Set(array.Length(), value);
    object.Set(key, array);
  };
  set_all("exposedMs", stats.exposed_ms);
  set_all("collectiveMs", stats.collective_ms);
  set_all("hiddenMs", stats.hidden_ms);
  set("exchanges", stats.exchanges);
  Napi::Array profile = Napi::Array::New(env);
  for (const std::map<std::string, double>& rank : stats.profile_ms) {
    Napi::Object times = Napi::Object::New(env);
    for (const auto& [op, ms] : rank) times.Set(op, ms);
    profile.Set(profile.Length(), times);
  }
  object.Set("profileMs", profile);
  object.Set("closed", stats.closed);
  return object;
}

}  // namespace kraken::addon
