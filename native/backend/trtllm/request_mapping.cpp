#include "backend/trtllm/request_mapping.h"

#include <algorithm>
#include <list>
#include <string>

#include "base/error.h"

namespace kraken::trtllm {
namespace {

namespace tle = tensorrt_llm::executor;

[[noreturn]] void does_not_map(const std::string& what) {
  throw Error("ERR_OPTION", "backend \"tensorrt-llm\": " + what);
}

tle::SamplingConfig to_sampling(const SamplingParams& params, uint64_t sample) {
  tle::SamplingConfig sampling;
  if (params.temperature == 0) {
    sampling.setTopK(1);  // greedy
  } else {
    sampling.setTemperature(params.temperature);
    if (params.top_k > 0) sampling.setTopK(params.top_k);
    if (params.top_p < 1) sampling.setTopP(params.top_p);
    if (params.min_p > 0) sampling.setMinP(params.min_p);
  }
  sampling.setSeed(params.seed + sample);
  if (params.repetition_penalty != 1) sampling.setRepetitionPenalty(params.repetition_penalty);
  if (params.presence_penalty != 0) sampling.setPresencePenalty(params.presence_penalty);
  if (params.frequency_penalty != 0) sampling.setFrequencyPenalty(params.frequency_penalty);
  // What it holds back is the end token, and there is none without a stop token (set_ends).
  if (params.min_tokens > 0 && !params.stop_tokens.empty()) sampling.setMinTokens(params.min_tokens);
  return sampling;
}

// Stop words are part of the output, as our stop tokens are. Only the end token is held back by minTokens,
// and it is no part of the output: where it is needed, response_mapping puts it back.
void set_ends(tle::Request& request, const SamplingParams& params) {
  if (params.stop_tokens.empty()) return;
  if (params.min_tokens == 0) {
    std::list<tle::VecTokens> words;
    for (const int32_t token : params.stop_tokens) words.push_back({token});
    request.setStopWords(words);
    return;
  }
  if (params.stop_tokens.size() > 1) {
    does_not_map("`minTokens` holds back one stop token, and there are " +
                 std::to_string(params.stop_tokens.size()) + "; leave one of them out");
  }
  request.setEndId(params.stop_tokens[0]);
}

tle::Tensor bias_tensor(const SamplingParams& params, int32_t vocab) {
  tle::Tensor tensor = tle::Tensor::cpu(tle::DataType::kFP32, {vocab});
  auto* values = static_cast<float*>(tensor.getData());
  std::fill_n(values, vocab, 0.0f);
  for (const auto& [token, bias] : params.logit_bias) values[token] += bias;
  return tensor;
}

}  // namespace

std::vector<tle::Request> to_requests(const Request& request, const EngineConfig& engine) {
  using Kind = Request::Kind;
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length > engine.max_input_len) {
    throw Error("ERR_CONTEXT_LENGTH",
                "a prompt of " + std::to_string(length) + " tokens is longer than the " +
                    std::to_string(engine.max_input_len) +
                    " that the engine was built for: build it with a larger maxInputLen");
  }
  tle::OutputConfig output;
  output.excludeInputFromOutput = true;
  if (request.kind == Kind::Score || request.kind == Kind::Logits) {
    if (!engine.gathers_context_logits) {
      does_not_map("score() and logits() need an engine that was built with gatherContextLogits");
    }
    if (length + 1 > engine.max_seq_len) {
      throw Error("ERR_CONTEXT_LENGTH", "TensorRT-LLM generates a token after the text, which leaves " +
                                            std::to_string(engine.max_seq_len - 1) + " for it");
    }
    output.returnContextLogits = true;
    return {tle::Request(request.prompt, 1, false, tle::SamplingConfig(), output)};
  }
  if (request.kind != Kind::Generate) does_not_map("bounds of its products cannot be measured");

  const SamplingParams& params = request.sampling;
  output.returnPerfMetrics = true;
  output.returnGenerationLogits = params.logprobs >= 0;
  const auto room = static_cast<int32_t>(engine.max_seq_len - length);
  std::vector<tle::Request> requests;
  for (int32_t sample = 0; sample < request.samples; ++sample) {
    tle::Request& made = requests.emplace_back(request.prompt, std::min(params.max_tokens, room), true,
                                               to_sampling(params, static_cast<uint64_t>(sample)), output);
    set_ends(made, params);
    if (!params.logit_bias.empty()) made.setEmbeddingBias(bias_tensor(params, engine.padded_vocab));
  }
  return requests;
}

}  // namespace kraken::trtllm
