// The worker's side alone: what it makes of garbage, of a client that does not read, and of one that goes.
#include "worker/worker_session.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <cmath>
#include <future>
#include <random>
#include <thread>

#include "executor_harness.h"

namespace kraken::test {
namespace {

using namespace std::chrono_literals;

// An executor whose responses the test makes.
class Puppet final : public Executor {
 public:
  explicit Puppet(ResponseSink sink) : sink(std::move(sink)) {}
  RequestId enqueue(Request request) override { return request.id; }
  void cancel(RequestId) override {}
  ExecutorStats stats() override { return {}; }
  RequestLimits limits() const override { return {.vocab = 1 << 20}; }
  void shutdown() override {}
  const ResponseSink sink;
};

// A session on a thread of its own, and the client's end of its socket.
struct Session {
  explicit Session(ExecutorLoader load) {
    auto [mine, theirs] = make_socket_pair();
    client = std::move(mine);
    ended = std::async(std::launch::async, [load, socket = std::move(theirs)]() mutable {
      WorkerSession session(std::move(socket), load);
      return code_of([&] { session.run(); });
    });
  }
  // How run() ended; within a bound, so that a hang is a failure.
  std::string code() {
    if (ended.wait_for(30s) != std::future_status::ready) ADD_FAILURE() << "the session does not end";
    return ended.get();
  }
  Descriptor client;
  std::future<std::string> ended;
};

std::unique_ptr<Executor> no_engine(const ExecutorOptions&, ResponseSink, const std::atomic<bool>*,
                                    QueueObserver) {
  throw Error("ERR_ENGINE_CORRUPT", "no engine here");
}

void send_all(const Descriptor& socket, const std::vector<uint8_t>& bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t sent = send(socket.get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (sent < 0) return;  // it has had enough
    at += static_cast<size_t>(sent);
  }
}

void append(std::vector<uint8_t>& bytes, Frame frame) {
  const std::vector<uint8_t> more = std::move(frame).take();
  bytes.insert(bytes.end(), more.begin(), more.end());
}

Frame hello() {
  return {MessageType::Hello, Hello{.build = build_id()}};
}

TEST(WorkerSession, EndsQuietlyWithItsClient) {
  Session idle(no_engine);
  idle.client = Descriptor();
  EXPECT_EQ(idle.code(), "nothing");
}

TEST(WorkerSession, SaysWhyItCannotLoadAndGoesOn) {
  Session session(no_engine);
  Channel channel(std::move(session.client));
  channel.post(hello());
  channel.post({MessageType::Load, ExecutorOptions{}});
  Failure failure;
  while (failure.code.empty()) {
    ASSERT_TRUE(channel.pump(10s, [&](MessageType type, Reader& message) {
      if (type == MessageType::Failed) read_all(message, failure);
    }));
  }
  EXPECT_EQ(failure.code, "ERR_ENGINE_CORRUPT");
  channel.close();
  EXPECT_EQ(session.code(), "nothing");
}

TEST(WorkerSession, RefusesSizesThatCannotBe) {
  for (int wrong = 0; wrong < 4; ++wrong) {
    ExecutorOptions options;
    if (wrong == 0) options.ranks = 0;
    if (wrong == 1) options.max_batch_size = INT32_MAX;
    if (wrong == 2) options.kv_cache_tokens = -1;
    if (wrong == 3) options.link_latency_seconds = std::nan("");
    Session session(no_engine);
    Channel channel(std::move(session.client));
    channel.post(hello());
    channel.post({MessageType::Load, options});
    Failure failure;
    while (failure.code.empty()) {
      ASSERT_TRUE(channel.pump(10s, [&](MessageType type, Reader& message) {
        if (type == MessageType::Failed) read_all(message, failure);
      }));
    }
    EXPECT_EQ(failure.code, "ERR_OPTION");
    channel.close();
    EXPECT_EQ(session.code(), "nothing");
  }
}

TEST(WorkerSession, RefusesAnotherBuildAndTellsTheOtherSide) {
  Session session(no_engine);
  Channel channel(std::move(session.client));
  channel.post({MessageType::Hello, Hello{.build = "another"}});
  Failure failure;
  while (channel.pump(10s, [&](MessageType type, Reader& message) {
    if (type == MessageType::Failed) read_all(message, failure);
  })) {
  }
  EXPECT_EQ(failure.code, "ERR_NATIVE_LOAD");
  EXPECT_EQ(session.code(), "ERR_NATIVE_LOAD");
}

TEST(WorkerSession, RefusesWhatCannotBe) {
  std::vector<std::vector<uint8_t>> cases(8);
  append(cases[0], Frame(MessageType::Ping));  // without a hello
  for (size_t i = 1; i < cases.size(); ++i) append(cases[i], hello());
  append(cases[1], {MessageType::Enqueue, plain()});  // without an engine
  append(cases[2], Frame(MessageType::AskStats));     // no number
  append(cases[3], Frame(MessageType::Pong));         // not for the worker
  append(cases[4], Frame(static_cast<MessageType>(999)));
  const std::vector<uint8_t> huge = {0xff, 0xff, 0xff, 0xff, 20, 0, 0, 0};
  cases[5].insert(cases[5].end(), huge.begin(), huge.end());
  append(cases[6], Frame(MessageType::Shutdown));        // without an engine
  append(cases[7], {MessageType::Cancel, uint64_t{1}});  // the same
  for (const auto& bytes : cases) {
    Session session(no_engine);
    send_all(session.client, bytes);
    EXPECT_EQ(session.code(), "ERR_RANK_LOST") << "case " << &bytes - cases.data();
  }
}

TEST(WorkerSession, SurvivesGarbage) {
  const fake::ControlsFile file;
  std::vector<uint8_t> good;
  append(good, hello());
  append(good, {MessageType::Load, file.options(2, small_config())});
  const size_t loaded = good.size();
  for (int i = 1; i < 10; ++i) {
    Request request = plain(i, 10);
    request.id = static_cast<RequestId>(i);
    append(good, {MessageType::Enqueue, request});
    append(good, {MessageType::Cancel, request.id});
    append(good, {MessageType::AskStats, static_cast<uint32_t>(i)});
  }
  append(good, Frame(MessageType::Shutdown));
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<uint8_t> bytes = good;
    if (round % 4 == 0) {
      bytes.resize(random() % 5000);
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    }
    // Beyond the options: an engine of absurd sizes is a load that fails, but may take its time.
    const size_t from = round % 4 == 0 ? 0 : loaded;
    for (unsigned i = 0; i <= random() % 8 && !bytes.empty(); ++i) {
      bytes[from + random() % (bytes.size() - from)] = static_cast<uint8_t>(random());
    }
    Session session(fake::load_fake_engine);
    send_all(session.client, bytes);
    session.client = Descriptor();
    const std::string code = session.code();
    EXPECT_TRUE(code == "nothing" || code == "ERR_RANK_LOST" || code == "ERR_NATIVE_LOAD") << code;
  }
}

// A client that does not read stops the executor's thread, and with it what would pile up.
TEST(WorkerSession, WaitsForAClientThatDoesNotRead) {
  std::promise<Puppet*> made;
  Session session([&](const ExecutorOptions&, ResponseSink sink, const std::atomic<bool>*, QueueObserver) {
    auto puppet = std::make_unique<Puppet>(std::move(sink));
    made.set_value(puppet.get());
    return puppet;
  });
  std::vector<uint8_t> bytes;
  append(bytes, hello());
  append(bytes, {MessageType::Load, ExecutorOptions{}});
  send_all(session.client, bytes);
  Puppet* puppet = made.get_future().get();
  std::atomic<int> delivered{0};
  std::thread steps([&] {
    for (int i = 0; i < 100; ++i) {  // of 1 MB
      Response response;
      response.request = 1;
      response.values.resize(1 << 18);
      puppet->sink({response});
      ++delivered;
    }
  });
  EXPECT_TRUE(eventually([&] { return delivered >= 15; }));
  std::this_thread::sleep_for(200ms);
  EXPECT_LE(delivered, 20);  // 16 MiB, and what the socket holds
  size_t received = 0;
  Channel channel(std::move(session.client));
  while (received < 100) {
    ASSERT_TRUE(channel.pump(10s, [&](MessageType type, Reader& message) {
      if (type != MessageType::Responses) return;
      for (; !message.at_end(); ++received) {
        Response response;
        read(message, response);
        EXPECT_EQ(response.values.size(), size_t{1} << 18);
      }
    }));
  }
  steps.join();
  channel.close();
  EXPECT_EQ(session.code(), "nothing");
}

TEST(WorkerSession, LogitsOfAWideVocabularyComeInPiecesOfWholeRows) {
  std::promise<Puppet*> made;
  Session session([&](const ExecutorOptions&, ResponseSink sink, const std::atomic<bool>*, QueueObserver) {
    auto puppet = std::make_unique<Puppet>(std::move(sink));
    made.set_value(puppet.get());
    return puppet;
  });
  Channel channel(std::move(session.client));
  channel.post(hello());
  channel.post({MessageType::Load, ExecutorOptions{}});
  bool loaded = false;
  while (!loaded) {
    ASSERT_TRUE(channel.pump(10s, [&](MessageType type, Reader&) { loaded = type == MessageType::Loaded; }));
  }
  Puppet* puppet = made.get_future().get();
  std::thread step([&] {
    Response response;  // 5 rows of 2^20: 20 MiB
    response.request = 1;
    response.first_row = 7;
    response.finish = FinishReason::Length;
    for (int row = 0; row < 5; ++row)
      response.values.resize(response.values.size() + (1 << 20), static_cast<float>(row));
    puppet->sink({response});
  });
  std::vector<float> values;
  for (bool last = false; !last;) {
    ASSERT_TRUE(channel.pump(10s, [&](MessageType type, Reader& message) {
      if (type != MessageType::Responses) return;
      Response piece;
      read_all(message, piece);
      EXPECT_FALSE(last);
      EXPECT_EQ(piece.values.size() % (1 << 20), 0u);
      EXPECT_EQ(static_cast<size_t>(piece.first_row), 7 + values.size() / (1 << 20));
      values.insert(values.end(), piece.values.begin(), piece.values.end());
      last = piece.finish == FinishReason::Length;
    }));
  }
  step.join();
  ASSERT_EQ(values.size(), size_t{5} << 20);
  for (size_t row = 0; row < 5; ++row) EXPECT_EQ(values[(row << 20) + 5], static_cast<float>(row));
  channel.close();
  EXPECT_EQ(session.code(), "nothing");
}

}  // namespace
}  // namespace kraken::test
