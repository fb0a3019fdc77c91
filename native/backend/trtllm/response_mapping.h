// TensorRT-LLM's responses in our words. One object for each sample of a request, because a response says
// what is new and not what came before.
#pragma once

#include <tensorrt_llm/executor/executor.h>

#include <vector>

#include "runtime/executor.h"

namespace kraken::trtllm {

class SampleResponses {
 public:
  // `vocab`: without padding, which the logits have.
  SampleResponses(const Request& request, RequestId id, int32_t sample, int32_t vocab);

  // Appends the events that a response stands for; the last of them has a finish when the response is final.
  void map(const tensorrt_llm::executor::Response& response, std::vector<Response>& events);
  // Appends the last event of a sample that nobody will hear of any more.
  void end(FinishReason finish, const std::string& code, const std::string& message,
           std::vector<Response>& events) const;

  bool started() const { return started_; }

 private:
  Response event(int32_t token = -1) const;
  void map_tokens(const tensorrt_llm::executor::Result& result, std::vector<Response>& events);
  void map_context(const tensorrt_llm::executor::Result& result, std::vector<Response>& events);
  void add_logprobs(Response& event, const float* logits) const;
  bool ends_with(int32_t token) const;

  const Request::Kind kind_;
  const std::vector<int32_t> prompt_;  // Score
  const std::vector<int32_t> stop_tokens_;
  const int32_t min_tokens_, logprobs_;
  const RequestId id_;
  const int32_t sample_, vocab_;
  const Clock::time_point enqueued_at_ = Clock::now();
  bool started_ = false;
  std::vector<Response> held_;  // a stop token that came before its finish: the two belong together
};

}  // namespace kraken::trtllm
