// Every message comes back as it went; cut short or changed, it is refused or is another message, never a
// crash.
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "executor_harness.h"
#include "worker/messages.h"

namespace kraken::test {
namespace {

ExecutorOptions some_options() {
  ExecutorOptions options;
  options.directory = "engines/demo";
  options.model_config = R"({"layers": 3})";
  options.ranks = 4;
  options.dtype = DType::Int8;
  options.communication = false;
  options.link_bytes_per_second = 1.25e9;
  options.link_latency_seconds = 2e-5;
  options.kv_cache_tokens = int64_t{1} << 40;
  options.max_queue = 7;
  options.prefix_reuse = false;
  options.profile = true;
  options.ranks_per_device = 2;
  options.backend_config = R"({"version": "10.15.1"})";
  return options;
}

Request some_request() {
  Request request;
  request.id = uint64_t{1} << 60;
  request.kind = Request::Kind::WeightRead;
  request.prompt = {1, -2, 3};
  request.samples = 5;
  request.sampling.temperature = 0.25f;
  request.sampling.seed = ~uint64_t{0};
  request.sampling.logit_bias = {{4, -1.5f}, {5, 100.0f}};
  request.sampling.stop_tokens = {9, 8};
  request.sampling.logprobs = 2;
  return request;
}

Response some_response() {
  Response response;
  response.request = 12;
  response.sample = 3;
  response.token = 42;
  response.logprob = -0.5f;
  response.alternatives = {{41, -1.0f}, {40, -2.0f}};
  response.finish = FinishReason::Error;
  response.error_code = "ERR_INTERNAL";
  response.error_message = "broken — really";
  response.values = {1.0f, 2.0f};
  response.first_row = 6;
  response.total_ms = 3.5;
  response.preemptions = 1;
  response.cached_tokens = 128;
  return response;
}

ExecutorStats some_stats() {
  ExecutorStats stats;
  stats.steps = 9;
  stats.waiting = 3;
  stats.kv_blocks_cached = 4;
  stats.prefix_query_tokens = 300;
  stats.prefix_hit_tokens = 256;
  stats.exposed_ms = {0.5, 1.5};
  stats.hidden_ms = {0.25, 0.75};
  stats.profile_ms = {{{"attention", 1.0}, {"norm", 2.0}}, {}};
  stats.activation_bytes = size_t{1} << 33;
  return stats;
}

template <typename T>
std::vector<uint8_t> content(const T& value) {
  std::vector<uint8_t> bytes = Frame(MessageType::Load, value).take();
  bytes.erase(bytes.begin(), bytes.begin() + kFrameHeaderBytes);
  return bytes;
}

// By its bytes, since these types have no comparison: NaN is compared too.
template <typename T>
void expect_same_after_the_trip(const T& value) {
  const std::vector<uint8_t> bytes = content(value);
  T copy;
  Reader reader(bytes);
  read_all(reader, copy);
  EXPECT_EQ(content(copy), bytes);
}

template <typename T>
std::string read_code(const std::vector<uint8_t>& bytes) {
  return code_of([&] {
    T value;
    Reader reader(bytes);
    read_all(reader, value);
  });
}

template <typename T>
void expect_robust(const T& value) {
  const std::vector<uint8_t> bytes = content(value);
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(read_code<T>({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(length)}), "ERR_RANK_LOST");
  }
  std::vector<uint8_t> longer = bytes;
  longer.push_back(0);
  EXPECT_EQ(read_code<T>(longer), "ERR_RANK_LOST");
  std::mt19937 random(5);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> changed = bytes;
    for (unsigned i = 0; i <= random() % 4; ++i) {
      changed[random() % changed.size()] = static_cast<uint8_t>(random() % 3 == 0 ? 0xff : random());
    }
    const std::string code = read_code<T>(changed);
    EXPECT_TRUE(code == "nothing" || code == "ERR_RANK_LOST") << code;
    refused += code != "nothing";
  }
  EXPECT_GT(refused, 0);
}

TEST(WorkerMessages, ComeBackAsTheyWent) {
  expect_same_after_the_trip(some_options());
  expect_same_after_the_trip(some_request());
  expect_same_after_the_trip(some_response());
  expect_same_after_the_trip(some_stats());
  expect_same_after_the_trip(RequestLimits{1, 2, 3, 4});
  expect_same_after_the_trip(Failure{"ERR_IO", "no room"});
  const auto bytes = content(some_request());
  Request request;
  Reader reader(bytes);
  read_all(reader, request);
  EXPECT_EQ(request.prompt, some_request().prompt);
  EXPECT_EQ(request.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(request.sampling.logit_bias, some_request().sampling.logit_bias);
  EXPECT_EQ(request.kind, Request::Kind::WeightRead);
}

TEST(WorkerMessages, RefuseWhatIsCutShortOrChanged) {
  expect_robust(some_options());
  expect_robust(some_request());
  expect_robust(some_response());
  expect_robust(some_stats());
}

TEST(WorkerMessages, MakeNoRoomForWhatCannotFollow) {
  Frame frame(MessageType::Stats, ~uint32_t{0});  // a count of 4 billion, and nothing behind it
  const std::vector<uint8_t> bytes = std::move(frame).take();
  Reader reader({bytes.data() + kFrameHeaderBytes, 4});
  std::vector<double> values;
  EXPECT_EQ(code_of([&] { reader(values); }), "ERR_RANK_LOST");
  EXPECT_EQ(values.capacity(), 0u);
}

TEST(WorkerMessages, AFrameThatIsTooLongIsNotSent) {
  Request request = some_request();
  request.prompt.resize(kMaxFrameBytes / 4);
  EXPECT_EQ(code_of([&] { Frame(MessageType::Enqueue, request).take(); }), "ERR_OPTION");
}

TEST(WorkerMessages, BuildsKnowEachOther) {
  EXPECT_EQ(build_id().size(), 16u);
  EXPECT_EQ(code_of([] { check_hello({.build = build_id()}); }), "nothing");
  EXPECT_EQ(code_of([] { check_hello({.build = "other"}); }), "ERR_NATIVE_LOAD");
  EXPECT_NE(worker_version().find(build_id()), std::string::npos);
}

}  // namespace
}  // namespace kraken::test
