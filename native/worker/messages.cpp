#include "worker/messages.h"

#include "worker/worker_process.h"

namespace kraken {

constexpr DType last_of(DType) {
  return DType::Int8;
}
constexpr Request::Kind last_of(Request::Kind) {
  return Request::Kind::WeightRead;
}
constexpr FinishReason last_of(FinishReason) {
  return FinishReason::Error;
}

namespace {

// Each list of fields serves Writer (const values) and Reader.
template <typename Wire, typename T>
void hello_fields(Wire& wire, T& hello) {
  wire(hello.magic, hello.protocol, hello.build);
}

template <typename Wire, typename T>
void failure_fields(Wire& wire, T& failure) {
  wire(failure.code, failure.message);
}

template <typename Wire, typename T>
void options_fields(Wire& wire, T& options) {
  wire(options.directory, options.model_config, options.backend, options.ranks, options.dtype,
       options.communication, options.link_bytes_per_second, options.link_latency_seconds,
       options.threads_per_rank, options.max_batch_size, options.max_sequence_length, options.max_step_tokens,
       options.prefill_chunk, options.max_queue, options.kv_cache_tokens, options.prefix_reuse,
       options.profile, options.ranks_per_device, options.backend_config, options.hosts, options.launch_agent,
       options.secret, options.worker_path, options.exchange_dtype, options.verify, options.start_seconds);
}

template <typename Wire, typename T>
void plan_fields(Wire& wire, T& options) {
  wire(options.directory, options.model_config, options.ranks, options.dtype, options.communication,
       options.ranks_per_device, options.max_tokens, options.max_sequences, options.max_rows,
       options.max_context, options.trtllm_max_input, options.gathers_context_logits, options.timings);
}

template <typename Wire, typename T>
void request_fields(Wire& wire, T& request) {
  auto& sampling = request.sampling;
  wire(request.id, request.kind, request.samples, request.prompt, sampling.temperature, sampling.top_k,
       sampling.top_p, sampling.min_p, sampling.repetition_penalty, sampling.presence_penalty,
       sampling.frequency_penalty, sampling.seed, sampling.logit_bias, sampling.max_tokens,
       sampling.min_tokens, sampling.stop_tokens, sampling.logprobs);
}

template <typename Wire, typename T>
void limits_fields(Wire& wire, T& limits) {
  wire(limits.vocab, limits.max_sequence_length, limits.kv_blocks, limits.kv_block_tokens);
}

template <typename Wire, typename T>
void response_fields(Wire& wire, T& response) {
  wire(response.request, response.sample, response.token, response.logprob, response.finish,
       response.error_code, response.error_message, response.values, response.first_row, response.queue_ms,
       response.first_token_ms, response.total_ms, response.preemptions, response.cached_tokens);
}

template <typename Wire, typename T>
void stats_fields(Wire& wire, T& stats) {
  wire(stats.steps, stats.prompt_tokens, stats.generated_tokens, stats.finished, stats.cancelled,
       stats.failed, stats.preemptions, stats.running, stats.waiting, stats.kv_blocks, stats.kv_blocks_used,
       stats.kv_blocks_cached, stats.kv_block_tokens, stats.prefix_query_tokens, stats.prefix_hit_tokens,
       stats.step_ms_total, stats.exposed_ms, stats.collective_ms, stats.hidden_ms, stats.exchanges,
       stats.profile_ms, stats.weight_bytes, stats.kv_bytes, stats.activation_bytes);
}

void check_code(const std::string& code) {
  if (code.rfind("ERR_", 0) != 0 || code.size() > 64) garbled("an error without a code");
}

}  // namespace

void check_hello(const Hello& other) {
  if (other.magic != kProtocolMagic) garbled("the other side does not speak kraken-worker's protocol");
  if (other.protocol == kProtocolVersion && other.build == build_id()) return;
  const auto shown = [](uint32_t protocol, const std::string& build) {
    return "protocol " + std::to_string(protocol) + ", build " + build.substr(0, 64);
  };
  throw Error("ERR_NATIVE_LOAD", "kraken-worker and the addon are of different builds (" +
                                     shown(kProtocolVersion, build_id()) + " against " +
                                     shown(other.protocol, other.build) + "): " + kWorkerRemedy);
}

std::string worker_version() {
  return "kraken-worker " + build_version() + " (protocol " + std::to_string(kProtocolVersion) + ", build " +
         build_id() + ")";
}

Frame::Frame(MessageType type) {
  writer_(uint32_t{0}, static_cast<uint16_t>(type), uint16_t{0});
}

void Frame::write(const Hello& hello) {
  hello_fields(writer_, hello);
}
void Frame::write(const Failure& failure) {
  failure_fields(writer_, failure);
}
void Frame::write(const ExecutorOptions& options) {
  options_fields(writer_, options);
}
void Frame::write(const PlanOptions& options) {
  plan_fields(writer_, options);
}
void Frame::write(const Request& request) {
  request_fields(writer_, request);
}
void Frame::write(const RequestLimits& limits) {
  limits_fields(writer_, limits);
}
void Frame::write(const Response& response) {
  response_fields(writer_, response);
  std::vector<std::pair<int32_t, float>> alternatives;
  for (const auto& [token, logprob] : response.alternatives) alternatives.emplace_back(token, logprob);
  writer_(alternatives);
}
void Frame::write(const ExecutorStats& stats) {
  stats_fields(writer_, stats);
}

std::vector<uint8_t> Frame::take() && {
  const size_t content = writer_.size() - kFrameHeaderBytes;
  if (content > kMaxFrameBytes) {
    throw Error("ERR_OPTION", "a message of " + std::to_string(content) + " bytes exceeds the " +
                                  std::to_string(kMaxFrameBytes) +
                                  " that pass between Node and kraken-worker");
  }
  writer_.overwrite(0, static_cast<uint32_t>(content));
  return std::move(writer_).take();
}

void read(Reader& reader, Hello& hello) {
  hello_fields(reader, hello);
}
void read(Reader& reader, Failure& failure) {
  failure_fields(reader, failure);
  check_code(failure.code);
}
void read(Reader& reader, ExecutorOptions& options) {
  options_fields(reader, options);
}
void read(Reader& reader, PlanOptions& options) {
  plan_fields(reader, options);
}
void read(Reader& reader, Request& request) {
  request_fields(reader, request);
}
void read(Reader& reader, RequestLimits& limits) {
  limits_fields(reader, limits);
}
void read(Reader& reader, Response& response) {
  response_fields(reader, response);
  if (response.finish == FinishReason::Error) check_code(response.error_code);
  std::vector<std::pair<int32_t, float>> alternatives;
  reader(alternatives);
  response.alternatives.clear();
  for (const auto& [token, logprob] : alternatives) response.alternatives.push_back({token, logprob});
}
void read(Reader& reader, ExecutorStats& stats) {
  stats_fields(reader, stats);
}

}  // namespace kraken
