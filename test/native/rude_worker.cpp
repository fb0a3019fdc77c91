// Something that is started as kraken-worker and does not behave like one: RUDE says how.
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "worker/channel.h"
#include "worker/worker_process.h"

namespace kraken {
namespace {

// Answers as a worker would, up to the first request; `misbehave` is what comes instead of its answer.
template <typename Misbehave>
void serve(Channel& channel, const Hello& hello, const Misbehave& misbehave) {
  channel.post({MessageType::Hello, hello});
  while (channel.pump(Channel::kForever, [&](MessageType type, Reader& message) {
    if (type == MessageType::Load) {
      channel.post({MessageType::Loaded, RequestLimits{97, 200, 64, 8}});
    } else if (type == MessageType::Enqueue) {
      Request request;
      read_all(message, request);
      misbehave(request);
    }
  })) {
  }
}

Response event(RequestId id, int32_t sample, int32_t token) {
  Response response;
  response.request = id;
  response.sample = sample;
  response.token = token;
  return response;
}

void behave(const std::string& how) {
  Descriptor socket(kWorkerSocket);
  if (how == "exit") return;
  if (how == "garbage") {
    const std::string text(100'000, 'x');
    (void)!write(socket.get(), text.data(), text.size());
    pause();
  }
  if (how == "silence") pause();
  Channel channel(std::move(socket));
  const Hello hello{.build = build_id()};
  const auto respond = [&](const Response& response) { channel.post({MessageType::Responses, response}); };
  const auto nothing = [](const Request&) {};
  if (how == "other build") serve(channel, {.build = "another"}, nothing);
  if (how == "other protocol") serve(channel, {.protocol = 99, .build = build_id()}, nothing);
  if (how == "other magic") serve(channel, {.magic = 1, .build = build_id()}, nothing);
  if (how == "stranger") serve(channel, hello, [&](const Request&) { respond(event(77, 0, 1)); });
  if (how == "sample") serve(channel, hello, [&](const Request& r) { respond(event(r.id, 5, 1)); });
  if (how == "token") serve(channel, hello, [&](const Request& r) { respond(event(r.id, 0, 97)); });
  if (how == "credit")
    serve(channel, hello, [&](const Request&) { channel.post({MessageType::LeftQueue, 9}); });
  if (how == "type")
    serve(channel, hello, [&](const Request& r) { channel.post({MessageType::Enqueue, r}); });
  if (how == "twice")
    serve(channel, hello, [&](const Request&) { channel.post({MessageType::Hello, hello}); });
  if (how == "close")
    serve(channel, hello, [&](const Request&) {
      channel.close();
      pause();
    });
  if (how == "good, then bad") {
    serve(channel, hello, [&](const Request& r) {
      Response last = event(r.id, 0, 3);
      last.finish = FinishReason::Length;
      Frame frame(MessageType::Responses, last, event(77, 0, 1));
      channel.post(std::move(frame));
    });
  }
}

}  // namespace
}  // namespace kraken

int main() {
  const char* how = std::getenv("RUDE");
  kraken::behave(how != nullptr ? how : "exit");
  return 3;
}
