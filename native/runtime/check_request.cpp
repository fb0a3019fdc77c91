#include "base/error.h"
#include "runtime/executor.h"

namespace kraken {

void check_admission(const Admission& admission) {
  if (admission.stopped) throw Error("ERR_DISPOSED", "the engine is disposed");
  if (!admission.closed_code.empty()) throw Error(admission.closed_code, admission.closed_message);
  if (admission.queued >= admission.bound) {
    throw Error("ERR_QUEUE_FULL",
                std::to_string(admission.queued) + " requests are waiting already, the most maxQueue allows");
  }
}

void check_request(const Request& request, const RequestLimits& limits) {
  if (request.prompt.empty()) throw Error("ERR_EMPTY_PROMPT", "the prompt has no tokens");
  const bool generates = request.kind == Request::Kind::Generate;
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length + (generates ? 1 : 0) > limits.max_sequence_length) {
    throw Error("ERR_CONTEXT_LENGTH", "a prompt of " + std::to_string(length) + " tokens leaves no room in " +
                                          std::to_string(limits.max_sequence_length) + " positions");
  }
  const auto check_token = [&](int32_t token) {
    if (token >= 0 && token < limits.vocab) return;
    throw Error("ERR_TOKEN_RANGE",
                "token " + std::to_string(token) + " is outside 0 … " + std::to_string(limits.vocab - 1));
  };
  for (int32_t token : request.prompt) check_token(token);
  if (request.samples < 1 || request.samples > kMaxSamples) {
    throw Error("ERR_OPTION", "samples must be from 1 to " + std::to_string(kMaxSamples));
  }
  if (generates) {
    for (int32_t token : request.sampling.stop_tokens) check_token(token);
    for (const auto& [token, bias] : request.sampling.logit_bias) check_token(token);
    if (request.sampling.max_tokens < 1) throw Error("ERR_OPTION", "max_tokens must be at least 1");
  }
  // The prompt alone: it may stop before it needs more.
  const int64_t blocks = (length + limits.kv_block_tokens - 1) / limits.kv_block_tokens;
  if (blocks > limits.kv_blocks) {
    throw Error("ERR_OUT_OF_KV_CACHE",
                "a prompt of " + std::to_string(length) + " tokens can never fit the key/value cache of " +
                    std::to_string(int64_t{limits.kv_blocks} * limits.kv_block_tokens) +
                    " tokens: raise kvCacheTokens or shorten the prompt");
  }
}

}  // namespace kraken
